#pragma once

// Products of shrunk rows and the int8 B of a LoRA (kQ8Short). The rows have as many columns as the rank:
// they come as floats and are quantized here, once for all strips of the rectangle. The tiles are those of
// the linear*-inl.h that is included too.
//
// Every output element: the groups of 32 ranks in order, p = fma(dot, scale * u_scale, p) each.

#include "kernels/cpu/elementwise-inl.h"
#include "kernels/cpu/strip-inl.h"

namespace chorus {
namespace {

// `rows` rows of u, of which the first is the rectangle's row `row`, times all strips.
void expand_rows(const MatmulArgs&, const ShrunkRows& u, int row, int rows);

void matmul_short(const MatmulArgs& args) {
  ShrunkRows u;
  const int groups = (args.k + kGroupCols - 1) / kGroupCols;
  for (int row = 0; row < args.rows; row += kExpandRows) {
    const int rows = args.rows - row < kExpandRows ? args.rows - row : kExpandRows;
    for (int r = 0; r < rows; ++r) {
      const float* x = args.x + int64_t{row + r} * args.x_cols;
      quantize(x, args.k, groups, {u.quants[r], u.scales[r], u.sums[r]});
    }
    expand_rows(args, u, row, rows);
  }
}

}  // namespace
}  // namespace chorus
