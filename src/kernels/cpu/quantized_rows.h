#pragma once

#include "kernels/kernels.h"

namespace chorus {

// Groups of a quantized row, its padding included.
inline int padded_groups(int cols) { return round_up(cols, kBlockCols) / kGroupCols; }

// Rows of `cols` columns from `row` and `column` on, the latter a multiple of 32; as they are where null.
inline QuantizedRows from_row(const QuantizedRows& rows, int64_t row, int cols, int column = 0) {
  if (rows.quants == nullptr) return rows;
  const int64_t padded = round_up(cols, kBlockCols);
  const int64_t group = (row * padded + column) / kGroupCols;
  QuantizedRows out = {rows.quants + row * padded + column, rows.scales + group, rows.starts + group,
                       rows.sums + group};
  if (rows.rest != nullptr) {
    out.rest = rows.rest + row * padded + column;
    out.rest_starts = rows.rest_starts + group;
    out.fine_sums = rows.fine_sums + group;
  }
  return out;
}

}  // namespace chorus
