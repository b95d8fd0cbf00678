#pragma once

// The ops of a training step that kernels.h has not: the backward twins of its forward ops, under the same
// rules. SPMD; nothing is allocated; every sum is taken in an order that the shapes alone fix, so the bytes
// of a result do not depend on how many members share the work. The base is frozen: no op makes a gradient of
// its weights.
//
// All activations and gradients are f32, row-major; a stride is in elements. "+=" adds to what is there.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/kernels.h"

namespace chorus {

// dx = sum over tasks of dy_i W_i (+ dx if accumulate), the weights of a group in their packed form. A tile
// of W is dequantized once for all rows. May sync inside.
struct LinearBackwardTask {
  const PackedMatrix* weight = nullptr;  // [n, k], of any layout but kQ8Short
  const float* dy = nullptr;             // [rows, n]
  int64_t dy_stride = 0;
};

struct LinearBackwardArgs {
  std::span<const LinearBackwardTask> tasks;  // 1..kMaxGroup, of one k
  float* dx = nullptr;                        // [rows, k], contiguous
  int rows = 0;
  bool accumulate = false;
  std::byte* shared = nullptr;  // linear_backward_bytes() for all members together, aligned to 64
  std::byte* own = nullptr;     // kTrainingTileBytes of this member's, aligned to 64
};
size_t linear_backward_bytes(int rows, int max_n);  // `shared` for tasks whose n add up to max_n at most
constexpr size_t kTrainingTileBytes = size_t{1} << 20;

// Of y_i += scale B_i A_i x for the linears of a group, which share x, and the rows of one adapter; x is what
// the A read. Accumulates da and db, and adds the sum of scale (dy_i B_i) A_i to dx.
struct LoraBackwardLinear {
  const float* dy = nullptr;
  int64_t dy_stride = 0;     // dy: [rows, n]
  const float* b = nullptr;  // [n, rank]
  float* db = nullptr;       // [n, rank] +=
  int n = 0;
};
struct LoraBackwardSlice {
  std::span<const LoraBackwardLinear> linears;  // 1..kMaxGroup
  const float* x = nullptr;                     // [rows, k]
  const float* a = nullptr;                     // [linears x rank, k]: one A after the other
  const float* at = nullptr;                    // [k, linears x rank]: the same transposed
  float scale = 1;
  int rows = 0, rank = 0;
  float* da = nullptr;    // as a, +=
  float* dx = nullptr;    // [rows, k] +=, contiguous; null: not wanted
  float* work = nullptr;  // 2 x rows x linears x rank floats, shared by the team
};
// No two slices may write the same. Syncs inside, before dx is touched.
struct LoraBackwardArgs {
  std::span<const LoraBackwardSlice> slices;
  int k = 0;
};

// Of y = gain * z by output, z = (W + scale B A) x and gain = magnitude / length, the length taken as a
// constant: dz = gain * dy, and d_magnitude += the sum over rows of dy * z / length. All rows [rows, n] are
// contiguous.
struct DoraBackwardArgs {
  const float* y = nullptr;
  const float* before = nullptr;     // y stands for y - before; null: for itself
  const float* gain = nullptr;       // [n]
  const float* magnitude = nullptr;  // [n]; one of 0 gets no gradient
  const float* dy = nullptr;
  float* dz = nullptr;           // may be dy
  float* d_magnitude = nullptr;  // [n] +=
  int rows = 0, n = 0;
};

// Dropout of an adapter's input: y = x / (1 - p) where the element is kept, else 0; + y if accumulate (then
// it is the backward of itself). Which elements are kept is a function of key, row_keys[row] and column
// alone, not of the batch they come in (dropout_keeps()).
struct DropoutArgs {
  const float* x = nullptr;            // [rows, cols], contiguous, as y
  float* y = nullptr;                  // may be x
  const uint64_t* row_keys = nullptr;  // [rows]
  uint64_t key = 0;
  int rows = 0, cols = 0;
  float p = 0;  // in [0, 1)
  bool accumulate = false;
};
bool dropout_keeps(uint64_t key, uint64_t row_key, int column, float p);

// Of y = x / rms(x) * weight: dx += what follows from dy.
struct RmsNormBackwardArgs {
  const float* x = nullptr;   // [rows, cols], contiguous, as dy and dx
  const float* dy = nullptr;  // may not be dx
  const float* weight = nullptr;
  float* dx = nullptr;
  int rows = 0, cols = 0;
  float eps = 0;
  bool accumulate = true;  // false: dx =, not +=
};

// Of y = act(gate) * up. d_gate may be `gate`, d_up `up`.
struct GatedBackwardArgs {
  const float* gate = nullptr;  // [rows, n], contiguous, as all
  const float* up = nullptr;
  const float* dy = nullptr;
  float* d_gate = nullptr;
  float* d_up = nullptr;
  int64_t count = 0;  // rows x n
  Activation activation = Activation::kSilu;
};

// Of AttentionArgs over whole sequences, each from its position 0 on: row row_begin + i is position i, and
// all it sees are rows of this call. q, k and v are as the linears gave them, before norm and rope; the
// gradients are of the same. Scores and softmax are computed again; P is never held for more than a block of
// rows.
struct AttentionBackwardSequence {
  int row_begin = 0, row_end = 0;
};
struct AttentionBackwardArgs {
  const float* q = nullptr;  // [rows, heads, dim]
  const float* k = nullptr;  // [rows, kv_heads, dim]
  const float* v = nullptr;
  const float* q_norm = nullptr;  // [dim] or null, as are k's
  const float* k_norm = nullptr;
  float norm_eps = 0;
  const float* rope = nullptr;  // [rows, dim / 2, 2]
  std::span<const AttentionBackwardSequence> sequences;
  int heads = 0, kv_heads = 0, dim = 0;
  int window = 0;
  float scale = 1, soft_cap = 0;
  const float* y = nullptr;   // [rows, heads, dim]: what attention gave
  const float* dy = nullptr;  // likewise
  float* dq = nullptr;        // =, shaped as q, k, v
  float* dk = nullptr;
  float* dv = nullptr;
  float* own = nullptr;  // attention_backward_floats() of this member's, aligned to 64
};
size_t attention_backward_floats(int max_sequence_rows, int heads, int kv_heads, int dim);

// Mean-free cross entropy of rows of logits against a label each: nll[row] = -log softmax(logits)[label], and
// logits become weight[row] times its gradient with respect to what the soft cap, if any, was applied to.
struct CrossEntropyArgs {
  float* logits = nullptr;  // [rows, vocab], contiguous, the cap applied already
  const int32_t* labels = nullptr;
  const float* weights = nullptr;  // [rows]; null: only nll is wanted, logits are left as they are
  float soft_cap = 0;              // 0: none
  int rows = 0, vocab = 0;
  double* nll = nullptr;  // [rows]
};

struct TrainingKernels {
  const char* name;
  // The ops of the forward pass, where it has some of its own; nullptr: the engine's. Those of "amx" round
  // what linear_group multiplies to bf16: further from the engine's int8 than from f32.
  const Kernels* forward;
  void (*linear_backward)(Stream&, const LinearBackwardArgs&);
  void (*lora_backward)(Stream&, const LoraBackwardArgs&);
  void (*dora_backward)(Stream&, const DoraBackwardArgs&);
  void (*dropout)(Stream&, const DropoutArgs&);
  void (*rms_norm_backward)(Stream&, const RmsNormBackwardArgs&);
  void (*gated_backward)(Stream&, const GatedBackwardArgs&);
  void (*attention_backward)(Stream&, const AttentionBackwardArgs&);
  void (*cross_entropy)(Stream&, const CrossEntropyArgs&);
};

// The table of that name, or the one that goes with kernels of that name (see find_kernels). "reference" sums
// in double and dequantizes exactly. "portable", "avx2" and "avx512" multiply in f32. "avx512bf16" and "amx"
// (its tiles, which are an order of magnitude faster) are "avx512" but for linear_backward, and of "amx"
// lora_backward, which round what they multiply to bf16 and sum in f32; the best of the three goes with
// "avx512vnni". nullptr: not built in, or this machine cannot run it.
const TrainingKernels* find_training_kernels(std::string_view name);

// All that this machine can run, best first, under their own names; "reference" is the last.
std::vector<const TrainingKernels*> available_training_kernels();

}  // namespace chorus
