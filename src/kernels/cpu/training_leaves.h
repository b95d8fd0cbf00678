#pragma once

// What each instruction set implements of the training ops; see leaves.h for the rules of these files.
// training_tasks.cc and training_attention_tasks.cc share the ops out and call these.

#include <cstddef>
#include <cstdint>

#include "kernels/training.h"

namespace chorus {

// c[i, j] = (add ? c[i, j] : 0) + scale * sum over l of a[i, l] b[l, j]. The sum is taken in pieces of
// kProductPiece terms, each in order, and the pieces are added to c in order.
struct ProductArgs {
  const float* a = nullptr;  // a[i, l] at i * a_row + l * a_col
  int64_t a_row = 0, a_col = 0;
  const float* b = nullptr;  // rows of n floats, b_stride apart
  int64_t b_stride = 0;
  float* c = nullptr;  // rows of n floats, c_stride apart
  int64_t c_stride = 0;
  int m = 0, n = 0, depth = 0;
  float scale = 1;
  bool add = false;
};
constexpr int kProductPiece = 256;

constexpr int kUnit = 16;  // columns that are unpacked together

// `count` rows of W (the outputs), the first of a strip onwards, times some of its columns.
struct WeightTile {
  const std::byte* strips = nullptr;  // the first row's
  size_t strip_bytes = 0;
  MatrixLayout layout = MatrixLayout::kF32;
  bool has_min = false;
  int rows_left = 0;                       // of W, from the first on
  int count = 0, column = 0, columns = 0;  // column is a multiple of 16; all of these exist
};

// dx (+)= dy W over a piece of the outputs and some columns, W being unpacked once for all rows of dy. What
// an unpacked tile and the packed dy look like is between the functions of one table.
struct BaseProduct {
  int piece = 0;    // outputs of a tile, a multiple of 32
  int columns = 0;  // of a tile at most, a multiple of 16
  // 16 rows of dy, or as many as there are; null: `multiply` reads dy itself.
  void (*pack)(const float* dy, int64_t dy_stride, int rows, int n, std::byte* packed) = nullptr;
  void (*unpack)(const WeightTile&, std::byte* tile) = nullptr;
  struct Args {
    const LinearBackwardTask* task = nullptr;
    const std::byte* packed = nullptr;  // the task's dy
    int64_t block_bytes = 0;            // from 16 rows of it to the next
    int n = 0, count = 0, columns = 0, rows = 0;
    const std::byte* tile = nullptr;
    float* dx = nullptr;  // at the first column
    int64_t dx_stride = 0;
    bool add = false;
  };
  void (*multiply)(const Args&) = nullptr;
};

// Bytes of 16 rows of packed dy: bf16 in whole tiles of 32 outputs.
constexpr int kPackedOutputs = 32;
constexpr int64_t packed_dy_bytes(int n) { return int64_t{round_up(n, kPackedOutputs)} * kStripRows * 2; }

constexpr int kMostAdapterColumns = 64;

struct TrainingLeaves {
  void (*product)(const ProductArgs&);
  // The same for those of an adapter, in chunks of so many rows or columns of what it is times.
  void (*adapter_product)(const ProductArgs&);
  int adapter_rows = 24, adapter_columns = 48;
  // Of one row, as DropoutSeed and dropout_hash() say.
  void (*dropout)(const float* x, int cols, uint32_t seed_add, uint32_t seed_flip, float p, bool accumulate,
                  float* y);
  void (*rms_norm_backward)(const float* x, const float* dy, const float* weight, int cols, float eps,
                            bool accumulate, float* dx);
  void (*gated_backward)(const GatedBackwardArgs&, int64_t begin, int64_t end);
  void (*prepare_head)(const float* x, const float* norm, float eps, const float* rope, int dim, float* y);
  // dx of that; dy is overwritten.
  void (*prepare_head_backward)(const float* x, const float* norm, float eps, const float* rope, int dim,
                                float* dy, float* dx);
  // y [cols, y_stride] = x [rows, cols] transposed; + y if add.
  void (*transpose)(const float* x, int64_t x_stride, int rows, int cols, bool add, float* y,
                    int64_t y_stride);
  // One row of q.k products and of dy.v products, of which [begin, end) are seen -> the softmax weights of
  // the scaled and capped products, and the gradients of the products as they are. Zeros where not seen, up
  // to `cols`, a multiple of 16. `mean`: dy.y.
  void (*softmax_backward)(float* products, float* d_weights, int begin, int end, int cols, float scale,
                           float soft_cap, float mean);
  float (*dot)(const float* x, const float* y, int count);
  void (*cross_entropy)(const CrossEntropyArgs&, int64_t row);
  BaseProduct base;
};

extern const TrainingLeaves kPortableTraining;
extern const TrainingLeaves kAvx2Training;
extern const TrainingLeaves kAvx512Training;
extern const TrainingLeaves kAvx512Bf16Training;  // but for `base` the one above
extern const TrainingLeaves kAmxTraining;

}  // namespace chorus
