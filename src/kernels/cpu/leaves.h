#pragma once

// What each instruction set implements: functions of one thread over plain pointers. cpu_kernels.cc shares an
// op out to the members of a team and calls these. The files that implement them are compiled with flags this
// machine may lack, so they hold nothing another file could share: no std algorithms or containers, no
// inline functions of other headers, and everything in an unnamed namespace.

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"

namespace chorus {

// A rectangle of y = x W^T: strips of W times rows of x. All pointers are at the rectangle's first strip, row
// and column, but for `strips`, which is at the strip's first column whatever k_begin is.
struct MatmulArgs {
  const std::byte* strips = nullptr;
  size_t strip_bytes = 0;
  int strip_count = 0;
  int k_begin = 0, k = 0;  // the columns k_begin .. k_begin + k - 1 of W; k_begin is a multiple of 64
  MatrixLayout layout = MatrixLayout::kF32;
  bool has_min = false;
  const float* x = nullptr;  // [rows, k], read where W is not quantized, or kQ8Short
  QuantizedRows quantized;   // [rows, k], read where it is; with its rest, if that is not null
  int x_cols = 0;            // from one row of x to the next; of quantized, rounded up to 64
  int rows = 0;
  float* y = nullptr;
  int64_t y_stride = 0;
  int columns = 0;              // of y: 16 strip_count, less what the last strip is padded with
  const float* bias = nullptr;  // null: none
  bool add = false;             // y = y + scale * (x W^T + bias), else y = x W^T + bias
  float scale = 1;
};

// Heads of one kv head, of one or several rows of a sequence: what reads the same pages.
constexpr int kMaxQueries = 16;
constexpr int kMaxHeadDim = 512;

// begin..end - 1.
struct Span {
  int begin = 0, end = 0;
  bool empty() const { return begin >= end; }
};

struct AttentionTile {
  KvLayer kv;
  int64_t page_bytes = 0;  // of one kv head
  int kv_head = 0;
  const int32_t* block_table = nullptr;
  float scale = 1, soft_cap = 0;
  int queries = 0;  // 1..16
  const float* q[kMaxQueries] = {};
  Span seen[kMaxQueries] = {};  // the positions that each sees
};

// What a query made of one piece of its context: dim values (sums of weight * v), then the largest score,
// then the sum of the weights exp(score - max).
constexpr int partial_floats(int dim) { return dim + 16; }

struct Leaves {
  void (*matmul)(const MatmulArgs&);
  // What linear_tasks.cc makes of many rows: chunks of so many, and of about so many products.
  int chunk_rows = 48, shrink_rows = 24;
  int64_t chunk_products = 10'000'000;  // some 50 us
  // Of one row; writes `groups` groups, zeros past cols.
  void (*quantize)(const float* x, int cols, int groups, const QuantizedRows& out);
  void (*rms_norm)(const float* x, const float* weight, int cols, float eps, bool accumulate, float* y);
  void (*gated_act)(const float* gate, const float* up, int cols, Activation activation, float* y);
  // One head: normalised unless norm is null, then rotated. x and y may be the same.
  void (*prepare_head)(const float* x, const float* norm, float eps, const float* table, int dim, float* y);
  // One kv head of one row, to the page's K and V and the position in it.
  void (*store_kv)(const float* k, const float* v, int dim, KvType type, std::byte* page, int position);
  void (*soft_cap)(float* x, int64_t count, float cap);
  // partials[i] of every query that sees a position of the piece; the others' are left alone.
  void (*attend_piece)(const AttentionTile&, int piece, float* const* partials);
  // into = into and the piece after it together.
  void (*merge_partials)(float* into, const float* piece, int dim);
  void (*finish_partial)(const float* partial, int dim, float* y);
};

extern const Leaves kPortableLeaves;
extern const Leaves kAvx2Leaves;
extern const Leaves kAvxVnniLeaves;
extern const Leaves kAvx512Leaves;
extern const Leaves kAvx512VnniLeaves;
extern const Leaves kAvx512Bf16Leaves;
extern const Leaves kVnniBf16Leaves;
extern const Leaves kAmxLeaves;
extern const Leaves kAmxBf16Leaves;

}  // namespace chorus
