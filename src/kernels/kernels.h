#pragma once

// The one backend interface: a table of plain functions over plain structs.
//
// Who calls: every member of a team calls the same op with the same arguments (SPMD); an op does this
// member's share and returns without waiting. Results may be read by other members only after sync(); an op
// that says so syncs inside. Arguments must not change until then. No op allocates, throws or keeps state
// between calls.
//
// What holds on the CPU, for every op: a row's result is the same bits whatever other rows, segments or
// sequences are in the call, and however many members share the work (batch invariance). Sums over cols,
// ranks and positions are therefore taken in an order fixed by the shape alone.
//
// All activations are f32, row-major; a stride is in elements.

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/thread_team.h"
#include "kernels/packed_matrix.h"

namespace chorus {

// Where an op runs: a member of the CPU team, or another backend's own handle.
struct Stream {
  TeamMember* member = nullptr;
  void* device = nullptr;
};

// Rows quantized to int8 in groups of 32 columns: x ~ scale * q with scale = max|x| / 127 (0 for a zero
// group). padded = cols rounded up to 64; the padding holds zeros. With `rest`, which may be null, what the
// rounding lost is kept as well: x ~ scale * (q + rest / kRestSteps), about 16 bits.
// One scale for more columns would save products (8 of 10 multiply operations are dot products at 32, 32 of
// 37 at 128), but SmolLM2's mean KL is 0.0020 at 32, 0.0036 at 64 and 0.0063 at 128 (llama.cpp's: 0.0024).
constexpr int kRestSteps = 254;

struct QuantizedRows {
  int8_t* quants = nullptr;  // [rows, padded]
  float* scales = nullptr;   // [rows, padded / 32]
  int32_t* sums = nullptr;   // [rows, padded / 32]: sum of the group's quants
  int8_t* rest = nullptr;    // [rows, padded]
  int32_t* rest_sums = nullptr;
};

struct QuantizeArgs {
  const float* x = nullptr;  // [rows, cols]
  int rows = 0, cols = 0;
  QuantizedRows out;
};

struct EmbedArgs {
  const PackedMatrix* weight = nullptr;  // [vocab, cols], any layout
  const int32_t* tokens = nullptr;       // [rows], each in [0, vocab)
  float* y = nullptr;                    // [rows, cols] = scale * weight[token]
  int rows = 0;
  float scale = 1;
};

// y = x / rms(x) * weight (+ y if accumulate), by row. x and y may be the same. `quantized` (may have null
// members: then not written) gets y quantized; only for y_stride == cols.
struct RmsNormArgs {
  const float* x = nullptr;
  float* y = nullptr;
  const float* weight = nullptr;  // [cols]
  int64_t x_stride = 0, y_stride = 0;
  int rows = 0, cols = 0;
  float eps = 0;
  QuantizedRows quantized = {};
  const int32_t* row_index = nullptr;  // [rows]: row r of y is of this row of x; null: of row r
  bool accumulate = false;
  bool alone = false;  // this member does every row, into memory of its own, and nobody has to wait
};

// y = x W^T (+ y if accumulate) (+ bias). Reads `quantized` where the weight is, else `x`. Who computes which
// part of y is the op's own affair (many rows go to whichever member is free), so sync before anything reads
// or adds to y: the one sync that lora_shrink needs before lora_expand_add serves both.
struct LinearArgs {
  const PackedMatrix* weight = nullptr;  // [n, k]
  const float* x = nullptr;              // [rows, k]
  QuantizedRows quantized;               // [rows, k]; with its rest, which takes twice the dot products
  float* y = nullptr;                    // [rows, n], y_stride >= n
  int64_t y_stride = 0;
  const float* bias = nullptr;  // [n] or null
  int rows = 0;
  bool accumulate = false;
};

// One adapter's pair for one linear, over a range of rows.
struct LoraSlice {
  PackedMatrix a;  // [rank, k], f32, f16 or bf16
  PackedMatrix b;  // [n, rank], likewise
  int row_begin = 0, row_end = 0;
  float scale = 0;     // of adapter, mix and request together
  float* u = nullptr;  // [row_end - row_begin, rank]: the shrunk rows
};

struct LoraArgs {
  std::span<const LoraSlice> slices;  // where slices share rows, they are added in this order
  const float* x = nullptr;           // [rows, k]
  float* y = nullptr;                 // [rows, n]
  int64_t y_stride = 0;
};

// cos and sin of position * inv_freq * 1, times attention_factor: table [rows, dim / 2, 2].
struct RopeTableArgs {
  const int32_t* positions = nullptr;  // [rows]
  const float* inv_freq = nullptr;     // [dim / 2]
  float attention_factor = 1;
  float* table = nullptr;
  int rows = 0, dim = 0;
};

constexpr int kPagePositions = 16;

enum class KvType : uint8_t { kF32, kF16 };

// One layer's pages: [page][kv_head]{ K [dim][16 positions] | V [16 positions][dim] } of f32 or f16.
// Aligned to 64.
struct KvLayer {
  std::byte* data = nullptr;
  KvType type = KvType::kF32;
  int kv_heads = 0, dim = 0;  // dim is a multiple of 16, at most 512
};

constexpr size_t kv_page_bytes(KvType type, int kv_heads, int dim) {
  return size_t{2} * kPagePositions * static_cast<size_t>(kv_heads) * static_cast<size_t>(dim) *
         (type == KvType::kF32 ? 4 : 2);
}

// Rows of one sequence: consecutive positions, the last being context_length - 1.
struct AttentionSequence {
  int row_begin = 0, row_end = 0;
  const int32_t* block_table = nullptr;  // page of positions 16 i .. 16 i + 15
  int context_length = 0;                // positions stored, this step's included
};

// Contexts are cut into pieces of so many positions, counted from position 0.
constexpr int kAttentionPiece = 256;

// What the pieces of a step leave for those after them; sized once.
struct AttentionWorkspace {
  float* partials = nullptr;    // attention_partials() floats
  int32_t* arrivals = nullptr;  // attention_arrivals() of them, 0 before the first call and after each
};
size_t attention_partials(int max_rows, int heads, int dim, int max_context);
size_t attention_arrivals(int max_rows, int kv_heads);

// From what the q, k and v linears gave to the input of o. Every head of q and of k is normalised where there
// is a weight, as in rms_norm, and its pairs (i, i + dim / 2) are rotated (the "half-split" order of Hugging
// Face); k and v are stored; then causal attention of each row over its sequence's stored positions, at most
// the last `window` of them including itself (0: all). Scores are q.k * scale, then
// soft_cap * tanh(score / soft_cap) if soft_cap > 0. Each piece of a context is reduced by itself and merged
// in order, for every row alike. Pages hold garbage past the context: it is left out by selection, never
// multiplied by 0. No sequence may see a position that another stores in the same call. May sync inside.
struct AttentionArgs {
  const float* q = nullptr;  // [rows, heads, dim]
  const float* k = nullptr;  // [rows, kv_heads, dim]
  const float* v = nullptr;
  const float* q_norm = nullptr;  // [dim] or null
  const float* k_norm = nullptr;
  float norm_eps = 0;
  const float* rope = nullptr;     // [rows, dim / 2, 2], of rope_table
  const int64_t* slots = nullptr;  // [rows]: page * 16 + position in page
  KvLayer kv;
  std::span<const AttentionSequence> sequences;  // of all rows, in order
  int heads = 0;
  int window = 0;
  float scale = 1, soft_cap = 0;
  float* y = nullptr;       // [rows, heads, dim]
  QuantizedRows quantized;  // of y, where the members are not null
  AttentionWorkspace workspace;
};

enum class Activation : uint8_t { kSilu, kGeluTanh };

// y = act(gate) * up; also quantized where the members are not null.
struct GatedActArgs {
  const float* gate = nullptr;  // [rows, cols]
  const float* up = nullptr;    // [rows, cols]
  int64_t x_stride = 0;         // of gate and of up
  float* y = nullptr;           // [rows, cols], contiguous
  Activation activation = Activation::kSilu;
  int rows = 0, cols = 0;
  QuantizedRows quantized;
};

struct SoftCapArgs {
  float* x = nullptr;  // x = cap * tanh(x / cap)
  int64_t count = 0;
  float cap = 0;
};

struct Kernels {
  const char* name;
  KvType default_kv;
  bool int8_activations;  // linear multiplies quantized weights with LinearArgs::quantized; else with x
  void (*sync)(Stream&);
  void (*quantize)(Stream&, const QuantizeArgs&);
  void (*embed)(Stream&, const EmbedArgs&);
  void (*rms_norm)(Stream&, const RmsNormArgs&);
  void (*linear)(Stream&, const LinearArgs&);
  void (*lora_shrink)(Stream&, const LoraArgs&);  // u = x A^T
  void (*lora_expand_add)(Stream&,
                          const LoraArgs&);  // y += scale u B^T, after linear, lora_shrink and a sync
  void (*rope_table)(Stream&, const RopeTableArgs&);
  void (*attention)(Stream&, const AttentionArgs&);
  void (*gated_act)(Stream&, const GatedActArgs&);
  void (*soft_cap)(Stream&, const SoftCapArgs&);
};

// The table of that name: "reference" (scalar f32, the oracle: quantized weights times f32 activations),
// "portable", "avx2", "avxvnni", "avx512", "avx512vnni". nullptr: not built in, or this machine cannot run it.
const Kernels* find_kernels(std::string_view name);

// All tables this machine can run, best first; "reference" is the last.
std::vector<const Kernels*> available_kernels();

// The one named by the environment variable CHORUS_KERNELS, else the best. Error: a name that cannot be had,
// with those that can.
const Kernels& choose_kernels();

}  // namespace chorus
