#pragma once

// Products of f32 matrices; included after a simd header. A tile is some rows times up to kProductVectors
// vectors of 16 columns, its sums in registers. Each element is the same sequence of operations whatever tile
// it is computed in.

#include "kernels/cpu/elementwise-inl.h"
#include "kernels/cpu/training_leaves.h"

namespace chorus {
namespace {

// The last `lanes` of the tile's last vector are all that exist.
template <int kRows, int kVectors>
void product_tile(const ProductArgs& args, int row, int column, int lanes) {
  constexpr int kLast = kVectors - 1;
  for (int from = 0; from < args.depth; from += kProductPiece) {
    const int count = args.depth - from < kProductPiece ? args.depth - from : kProductPiece;
    Floats sums[kRows][kVectors];
#pragma GCC unroll 32
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] = broadcast(0);
    }
    const float* a[kRows];
#pragma GCC unroll 32
    for (int r = 0; r < kRows; ++r) a[r] = args.a + (row + r) * args.a_row + from * args.a_col;
    const float* b = args.b + from * args.b_stride + column;
    const int64_t end = count * args.a_col;
    for (int64_t at = 0; at != end; at += args.a_col, b += args.b_stride) {
      Floats line[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kLast; ++v) line[v] = load(b + v * kLanes);
      line[kLast] = lanes == kLanes ? load(b + kLast * kLanes) : load_n(b + kLast * kLanes, lanes);
#pragma GCC unroll 32
      for (int r = 0; r < kRows; ++r) {
        const Floats x = broadcast(a[r][at]);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sums[r][v] = fma(x, line[v], sums[r][v]);
      }
    }
    const bool add = args.add || from > 0;
#pragma GCC unroll 32
    for (int r = 0; r < kRows; ++r) {
      float* c = args.c + (row + r) * args.c_stride + column;
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const int width = v == kLast ? lanes : kLanes;
        const Floats before = add ? load_n(c + v * kLanes, width) : broadcast(0);
        store_n(c + v * kLanes, fma(broadcast(args.scale), sums[r][v], before), width);
      }
    }
  }
}

// All rows from `row` on, in tiles of kRows and then of fewer.
template <int kRows, int kVectors>
void product_rows(const ProductArgs& args, int row, int column, int lanes) {
  for (; row + kRows <= args.m; row += kRows) product_tile<kRows, kVectors>(args, row, column, lanes);
  if constexpr (kRows > 1) {
    if (row < args.m) product_rows<kRows / 2, kVectors>(args, row, column, lanes);
  }
}

template <int kVectors>
void product_columns(const ProductArgs& args, int vectors, int column, int lanes) {
  if constexpr (kVectors > 1) {
    if (vectors < kVectors) return product_columns<kVectors - 1>(args, vectors, column, lanes);
  }
  constexpr int kRows = kProductSums / kVectors;
  product_rows < kRows<kProductRows ? kRows : kProductRows, kVectors>(args, 0, column, lanes);
}

// Columns in groups of nearly the same number of vectors: 9 are 3, 3 and 3.
void product(const ProductArgs& args) {
  const int vectors = (args.n + kLanes - 1) / kLanes;
  const int groups = (vectors + kProductVectors - 1) / kProductVectors;
  for (int g = 0; g < groups; ++g) {
    const int begin = vectors * g / groups, end = vectors * (g + 1) / groups;
    product_columns<kProductVectors>(args, end - begin, begin * kLanes,
                                     lanes_left(args.n - (end - 1) * kLanes));
  }
}

}  // namespace
}  // namespace chorus
