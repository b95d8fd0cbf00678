#pragma once

// The in-memory layouts of weights. A matrix W [rows, cols] (rows = outputs) is stored as strips of 16 rows;
// a strip is contiguous along cols, so a thread streams it. Lanes of a vector are the strip's rows, so
// nothing is ever summed across lanes.
//
//   kF32, kF16, kBF16   strip = [cols][16] elements; the last strip is only as wide as it has rows, so that a
//                       LoRA of rank 4 takes the bytes of rank 4. Kernels still load 16 lanes at a time: the
//                       last strip's memory must go on for kStripSlack bytes, of any content.
//   kQ4                 strip = [ceil(cols / 64)] blocks of 64 columns, two groups of 32:
//                         f16 scale[2][16] | (f16 min[2][16] if has_min) | nibbles[2 groups][4][16 rows][4]
//                       a byte at [g][l][row][j] holds column 32 g + 4 l + j in its low nibble and column
//                       32 g + 16 + 4 l + j in its high one. w = scale * (q - 8), or scale * q + min if
//                       has_min.
//   kQ8                 strip = blocks of 64 columns: f16 scale[2][16] | u8[2 groups][8][16 rows][4]
//                       a byte at [g][l][row][j] holds column 32 g + 4 l + j. w = scale * (q - 128).
//   kQ8Short            kQ8 whose last block ends after the last column, rounded up to 4: the B of a LoRA,
//   where
//                       cols is the rank and a rank of 16 shall not take the bytes of 64.
// The quantized layouts pad the last strip with zero rows; columns past `cols` in the last block have zero
// scale and min, or stand for zero.

#include <cstddef>
#include <cstdint>

namespace chorus {

constexpr int kStripRows = 16;
constexpr int kBlockCols = 64;  // of the quantized layouts
constexpr int kGroupCols = 32;  // share a scale

enum class MatrixLayout : uint8_t { kF32, kF16, kBF16, kQ4, kQ8, kQ8Short };

constexpr bool is_quantized(MatrixLayout layout) {
  return layout == MatrixLayout::kQ4 || layout == MatrixLayout::kQ8 || layout == MatrixLayout::kQ8Short;
}

// A view of packed weights; whoever packed them owns the bytes, aligned to 64.
struct PackedMatrix {
  const std::byte* data = nullptr;
  int rows = 0, cols = 0;  // the true ones
  MatrixLayout layout = MatrixLayout::kF32;
  bool has_min = false;  // kQ4 only
};

constexpr int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

// Bytes of one block of 64 columns of a quantized strip.
constexpr size_t block_bytes(MatrixLayout layout, bool has_min) {
  const size_t scales = 2 * kStripRows * 2;
  if (layout != MatrixLayout::kQ4) return scales + kStripRows * kBlockCols;
  return scales * (has_min ? 2 : 1) + kStripRows * kBlockCols / 2;
}

// Bytes of one full strip, which is also the distance between strips.
constexpr size_t strip_bytes(MatrixLayout layout, bool has_min, int cols) {
  if (layout == MatrixLayout::kQ8Short) {
    const auto whole = static_cast<size_t>(cols / kBlockCols), rest = static_cast<size_t>(cols % kBlockCols);
    const size_t scales = 2 * kStripRows * 2, quads = (rest + 3) / 4;
    return whole * block_bytes(layout, false) + (rest > 0 ? scales + quads * kStripRows * 4 : 0);
  }
  if (is_quantized(layout)) {
    return block_bytes(layout, has_min) * static_cast<size_t>(round_up(cols, kBlockCols) / kBlockCols);
  }
  return static_cast<size_t>(cols) * kStripRows * (layout == MatrixLayout::kF32 ? 4 : 2);
}

// Rows, and lanes, of a strip.
constexpr int strip_width(int rows, int strip) {
  const int left = rows - strip * kStripRows;
  return left < kStripRows ? left : kStripRows;
}

constexpr size_t kStripSlack = 64;

// Bytes of a whole matrix, slack included.
constexpr size_t packed_bytes(MatrixLayout layout, bool has_min, int rows, int cols) {
  const size_t strip = strip_bytes(layout, has_min, cols);
  const auto full = static_cast<size_t>(rows / kStripRows), rest = static_cast<size_t>(rows % kStripRows);
  if (rest == 0) return strip * full;
  if (is_quantized(layout)) return strip * (full + 1);
  return strip * full + strip / kStripRows * rest + kStripSlack;
}

constexpr size_t packed_bytes(const PackedMatrix& matrix) {
  return packed_bytes(matrix.layout, matrix.has_min, matrix.rows, matrix.cols);
}

// What it takes of a buffer that holds several: each begins at a cache line.
constexpr size_t padded_bytes(const PackedMatrix& matrix) { return (packed_bytes(matrix) + 63) / 64 * 64; }

}  // namespace chorus
