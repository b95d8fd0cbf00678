#pragma once

// Products of shrunk rows and the int8 B of a LoRA (kQ8Short). The rows have as many columns as the rank:
// they come as floats and are quantized here, once for all strips of the rectangle. What is done with one
// strip is in the linear*-inl.h that is included too.
//
// Every output element: the groups of 32 ranks in order, p = fma(dot, scale * u_scale, p) each.

#include "kernels/cpu/elementwise-inl.h"
#include "kernels/cpu/strip-inl.h"

namespace chorus {
namespace {

// A strip of kQ8Short times kRows rows, of which u has the first at `first` and the rectangle at `row`.
template <int kRows>
void expand_strip(const MatmulArgs&, const ShrunkRows& u, int strip, int row, int first);

// Rows first.. of u, at most kRows.
template <int kRows>
void expand_tile(const MatmulArgs& args, const ShrunkRows& u, int strip, int row, int first, int rows) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return expand_tile<kRows - 1>(args, u, strip, row, first, rows);
  }
  expand_strip<kRows>(args, u, strip, row, first);
}

// `rows` rows of u, of which the first is the rectangle's row `row`, times all strips.
void expand_rows(const MatmulArgs& args, const ShrunkRows& u, int row, int rows) {
  for (int strip = 0; strip < args.strip_count; ++strip) {
    for (int first = 0; first < rows; first += kDecodeRows) {
      expand_tile<kDecodeRows>(args, u, strip, row + first, first, rows - first);
    }
  }
}

void matmul_short(const MatmulArgs& args) {
  ShrunkRows u;
  const int groups = (args.k + kGroupCols - 1) / kGroupCols;
  for (int row = 0; row < args.rows; row += kExpandRows) {
    const int rows = args.rows - row < kExpandRows ? args.rows - row : kExpandRows;
    for (int r = 0; r < rows; ++r) {
      const float* x = args.x + int64_t{row + r} * args.x_cols;
      quantize(x, args.k, groups, {u.quants[r], u.scales[r], u.starts[r], u.sums[r]});
    }
    expand_rows(args, u, row, rows);
  }
}

}  // namespace
}  // namespace chorus
