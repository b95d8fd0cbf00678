#pragma once

// Bytes <-> the layouts of packed_matrix.h. Pure functions of one strip or one row, so that the caller
// decides how strips are shared out. Every byte of the strip is written, padding included (the slack is not).

#include <cstddef>
#include <cstdint>

#include "kernels/packed_matrix.h"

namespace chorus {

// 32 columns of one row: w = scale * q + min with q in 0..15. Where the matrix has no min, w = scale * (q -
// 8) and `min` is ignored. scale and min are rounded to f16.
struct Q4Group {
  float scale = 0, min = 0;
  uint8_t q[kGroupCols] = {};
};

// w = scale * q. scale is rounded to f16.
struct Q8Group {
  float scale = 0;
  int8_t q[kGroupCols] = {};
};

// `rows` (1..16) rows of `cols` floats, `stride` floats apart -> a strip of kF32, kF16 or kBF16 (round to
// nearest even) that is as wide as it has rows.
void pack_strip(MatrixLayout layout, const float* values, int64_t stride, int rows, int cols,
                std::byte* strip);

// groups [rows][ceil(cols / 32)] -> a strip of kQ4, or of kQ8 or kQ8Short.
void pack_strip(const Q4Group* groups, int rows, int cols, bool has_min, std::byte* strip);
void pack_strip(const Q8Group* groups, int rows, int cols, std::byte* strip,
                MatrixLayout layout = MatrixLayout::kQ8);

// 32 values -> the nearest group: scale = max|value| / 127, 0 for zeros.
Q8Group quantize_q8(const float* values);

// out[i] = W[row, begin + i] for the columns begin..end - 1; begin is a multiple of 64.
void unpack_row(const PackedMatrix& matrix, int row, int begin, int end, float* out);

}  // namespace chorus
