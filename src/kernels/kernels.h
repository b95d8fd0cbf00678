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

#include <array>
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
// rounding lost is kept as well: x ~ scale * (q + rest / kRestSteps), about 16 bits. What products need of a
// group besides is made once here, not in each of their tiles.
// One scale for more columns would save products (8 of 10 multiply operations are dot products at 32, 32 of
// 37 at 128), but SmolLM2's mean KL is 0.0020 at 32, 0.0036 at 64 and 0.0063 at 128 (llama.cpp's: 0.0024).
constexpr int kRestSteps = 254;
constexpr float kRestStep = 1.0f / kRestSteps;

struct QuantizedRows {
  int8_t* quants = nullptr;  // [rows, padded]
  float* scales = nullptr;   // [rows, padded / 32]
  // [rows, padded / 32]. Of the sum of a group's quants, kStartPerQuant times: where their dot product with
  // weights that are stored with a zero point of 8 starts.
  int32_t* starts = nullptr;
  float* sums = nullptr;   // [rows, padded / 32]: scale times that sum, which a weight's minimum is times
  int8_t* rest = nullptr;  // [rows, padded]
  int32_t* rest_starts = nullptr;
  float* fine_sums = nullptr;  // `sums` with the rest
};
constexpr int kStartPerQuant = -8;

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

// Linears that read the same input make a group: q, k and v are the largest.
constexpr int kMaxGroup = 3;

struct LinearTask {
  const PackedMatrix* weight = nullptr;  // [n, k], of any layout but kQ8Short
  float* y = nullptr;                    // [rows, n], y_stride >= n
  int64_t y_stride = 0;
  bool accumulate = false;      // y += the product, else y = it
  bool fine = false;            // multiplies the quants' rest too, which takes twice the dot products
  const float* bias = nullptr;  // [n] or null
};

constexpr int kMaxRank = 1024;

// What one adapter adds to the linears of a group: y_i += scale_i x A_i^T B_i^T, and with DoRA also
// gain_i * (x W_i^T), the product without its bias, by output.
struct LoraMatrices {
  PackedMatrix a;  // [sum of ranks, k]: the A_i one after the other. f32, f16 or bf16; or kQ8
  std::array<PackedMatrix, kMaxGroup> b;  // [n_i, rank_i], kQ8Short if A is kQ8; data == nullptr: no such B_i
  std::array<float, kMaxGroup> scale = {};
  std::array<PackedMatrix, kMaxGroup> gain;  // [n_i, 1], kF32: n_i floats; data == nullptr: no DoRA
};

// An adapter over a range of rows. u: the shrunk rows, lora_floats() of them.
struct LoraSlice {
  const LoraMatrices* lora = nullptr;
  int row_begin = 0, row_end = 0;
  float scale = 0;  // of mix and request
  float* u = nullptr;
};

// A row's u is summed over k in these pieces, whoever computes them: quarters of k in whole blocks of 64.
constexpr int kShrinkPieces = 4;
constexpr int64_t shrink_begin(int k, int piece) {
  return int64_t{round_up(k, kBlockCols) / kBlockCols} * piece / kShrinkPieces * kBlockCols;
}

// An op of so few rows is short and bound by memory: its shares are fixed, and the pieces of u are shared out
// too, so u holds them all.
constexpr int kFewRows = 16;
constexpr int64_t lora_floats(int op_rows, int slice_rows, int ranks) {
  return int64_t{slice_rows} * ranks * (op_rows <= kFewRows ? kShrinkPieces : 1);
}

enum class Activation : uint8_t { kSilu, kGeluTanh };

// y = act(y_0) * y_1 of a group's first two tasks, whose n are equal; also quantized where the members are
// not null.
struct GatedOutput {
  float* y = nullptr;  // [rows, n], contiguous, and may be y_0; null: the group has no such end
  Activation activation = Activation::kSilu;
  QuantizedRows quantized;
};

// The products of one input with the weights of a group, then what the adapters add, then the gated
// activation. Products read `quantized` where W is quantized (and the table multiplies int8), else `x`; so
// does A, and u is quantized on the way to a kQ8Short B. A row without a slice gets the very bits of a group
// without slices. Syncs inside at most in halves (TeamMember::signal), so no waiting where u is done in time.
// Who computes which part of y is the op's own affair: sync before anything reads it.
struct LinearGroupArgs {
  const float* x = nullptr;  // [rows, k]
  QuantizedRows quantized;   // [rows, k]
  int rows = 0;
  std::span<const LinearTask> tasks;  // 1..kMaxGroup; their y do not overlap
  std::span<const LoraSlice> slices;  // where slices share rows, they are added in this order
  GatedOutput gated;
  const float* lora_x = nullptr;  // [rows, k], what slices read instead of the input; their A is not kQ8
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

// kI8: quants in -128..127 with x ~ middle + scale * quant. K has a scale and a middle for each position and
// group of 32 columns, V for each position. On SmolLM2 that moves the mean KL from f32 from 0.00135 to
// 0.00146, for 0.55 of f16's memory; finer than bf16, f16 is the exact one of the two 16-bit types.
enum class KvType : uint8_t { kF32, kF16, kI8 };

// One layer's pages: [page][kv_head]{ K [dim][16 positions] | V [16 positions][dim] }, aligned to 64; with
// kI8 then { K scales | K middles [dim / 32, rounded up][16] | V scales | V middles [16] } of f16.
struct KvLayer {
  std::byte* data = nullptr;
  KvType type = KvType::kF32;
  int kv_heads = 0, dim = 0;  // dim is a multiple of 16, at most 512
};

constexpr int kKvGroup = 32;

constexpr size_t kv_page_bytes(KvType type, int kv_heads, int dim) {
  const auto heads = static_cast<size_t>(kv_heads), elements = size_t{2} * kPagePositions * size_t(dim);
  if (type != KvType::kI8) return heads * elements * (type == KvType::kF32 ? 4 : 2);
  const auto scales = static_cast<size_t>((dim + kKvGroup - 1) / kKvGroup + 1);
  return heads * (elements + scales * 2 * kPagePositions * 2);
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

struct SoftCapArgs {
  float* x = nullptr;  // x = cap * tanh(x / cap)
  int64_t count = 0;
  float cap = 0;
};

struct Kernels {
  const char* name;
  KvType default_kv;      // the smallest that costs next to nothing: see KvType
  KvType exact_kv;        // where nothing but memory is to be lost
  bool int8_activations;  // linear_group multiplies quantized weights with its quantized rows; else with x
  void (*sync)(Stream&);
  void (*quantize)(Stream&, const QuantizeArgs&);
  void (*embed)(Stream&, const EmbedArgs&);
  void (*rms_norm)(Stream&, const RmsNormArgs&);
  void (*linear_group)(Stream&, const LinearGroupArgs&);
  void (*rope_table)(Stream&, const RopeTableArgs&);
  void (*attention)(Stream&, const AttentionArgs&);
  void (*soft_cap)(Stream&, const SoftCapArgs&);
};

// The table of that name: "reference" (scalar f32, the oracle: quantized weights times f32 activations),
// "portable", "avx2", "avxvnni", "avx512", "avx512bf16", "avx512vnni", "vnnibf16", "amx". nullptr: not built
// in, or this machine cannot run it. "vnnibf16" is avx512vnni but for attention on int8 pages, with queries
// and weights rounded to bf16: 1.3 to 1.5 times as fast in prefill, where that instruction has the rate of
// f32. "amx" is avx512vnni but for 16 and more rows of quantized weights, whose dot products its tiles take:
// the same bits, 1.3 to 1.5 times as fast. "avx512bf16" is avx512vnni but for bf16 weights, which it
// multiplies with x as a sum of two bf16 (within 2^-18): slower where that instruction has less than the rate
// of f32, and no faster where it has the same, so it is only ever used by name.
const Kernels* find_kernels(std::string_view name);

// All tables this machine can run; "reference" is the last.
std::vector<const Kernels*> available_kernels();

// The one named by the environment variable CHORUS_KERNELS, else the best. Error: a name that cannot be had,
// with those that can.
const Kernels& choose_kernels();

}  // namespace chorus
