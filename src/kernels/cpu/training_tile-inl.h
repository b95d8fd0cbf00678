#pragma once

// Weights of 16 rows and 16 columns out of their layout; included after a simd header. In f32 a tile of
// BaseProduct is [outputs][columns].

#include "kernels/cpu/strip-inl.h"
#include "kernels/cpu/training_product-inl.h"

namespace chorus {
namespace {

// What stands before a group's quants: the scales of its 16 rows, and what to add.
struct GroupScales {
  Floats scale, min;
};
template <bool kQ8, bool kHasMin>
GroupScales group_scales(const std::byte* block, int group) {
  using Block = QuantizedBlock<kQ8, kHasMin>;
  const std::byte* header = block + group * Block::kScaleBytes;
  const Floats scale = load_f16(header);
  if constexpr (kHasMin) return {scale, load_f16(header + Block::kScaleBytes * kGroupsPerBlock)};
  return {scale, mul(scale, broadcast(-Block::kZeroPoint))};
}

// x[c] = the 16 rows of column `column + c`.
template <bool kQ8, bool kHasMin>
void unpack_columns(const std::byte* strip, int column, Floats (&x)[kUnit]) {
  using Block = QuantizedBlock<kQ8, kHasMin>;
  const std::byte* block = strip + column / kBlockCols * Block::kBlockBytes;
  const int group = column % kBlockCols / kGroupCols, half = column % kGroupCols / kUnit;
  const GroupScales scales = group_scales<kQ8, kHasMin>(block, group);
  const std::byte* lines = block + Block::kHeaderBytes + group * Block::kGroupBytes + (kQ8 ? half * 256 : 0);
  const Ints mask = broadcast_int(kQ8 ? 255 : 15);
#pragma GCC unroll 4
  for (int l = 0; l < 4; ++l) {
    Ints line = load_ints(lines + l * 64);
    if (!kQ8 && half == 1) line = shift_right(line, 4);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      x[4 * l + j] = fma(scales.scale, to_float(bit_and(shift_right(line, 8 * j), mask)), scales.min);
    }
  }
}

// Rows past the strip's width are of any content, columns past `columns` are zero.
template <MatrixLayout kLayout>
void unpack_dense_columns(const std::byte* strip, int width, int column, int columns, Floats (&x)[kUnit]) {
  const int bytes = kLayout == MatrixLayout::kF32 ? 4 : 2;
  for (int c = 0; c < kUnit; ++c) {
    x[c] = broadcast(0);
    if (c >= columns) continue;
    const std::byte* line = strip + int64_t{column + c} * width * bytes;
    if constexpr (kLayout == MatrixLayout::kF32) x[c] = load(reinterpret_cast<const float*>(line));
    if constexpr (kLayout == MatrixLayout::kF16) x[c] = load_f16(line);
    if constexpr (kLayout == MatrixLayout::kBF16) x[c] = load_bf16(line);
  }
}

// x[c] = the 16 rows of column `column + c` of a strip, of which `columns` exist.
void unpack_lanes(const WeightTile& w, const std::byte* strip, int width, int column, int columns,
                  Floats (&x)[kUnit]) {
  switch (w.layout) {
    case MatrixLayout::kF32:
      unpack_dense_columns<MatrixLayout::kF32>(strip, width, column, columns, x);
      break;
    case MatrixLayout::kF16:
      unpack_dense_columns<MatrixLayout::kF16>(strip, width, column, columns, x);
      break;
    case MatrixLayout::kBF16:
      unpack_dense_columns<MatrixLayout::kBF16>(strip, width, column, columns, x);
      break;
    case MatrixLayout::kQ4:
      w.has_min ? unpack_columns<false, true>(strip, column, x)
                : unpack_columns<false, false>(strip, column, x);
      break;
    case MatrixLayout::kQ8:
    case MatrixLayout::kQ8Short:
      unpack_columns<true, false>(strip, column, x);
  }
}

// x[r] = 16 columns of row r of a strip, from `column` on, of which `columns` exist.
void unpack_unit(const WeightTile& w, const std::byte* strip, int width, int column, int columns,
                 Floats (&x)[kUnit]) {
  unpack_lanes(w, strip, width, column, columns, x);
  transpose(x);
}

// Of the strip whose first row is `row` of the tile.
const std::byte* strip_of(const WeightTile& w, int row) {
  return w.strips + w.strip_bytes * static_cast<size_t>(row / kStripRows);
}
int width_of(const WeightTile& w, int row) { return lanes_left(w.rows_left - row); }

void unpack_f32(const WeightTile& w, std::byte* tile) {
  auto* out = reinterpret_cast<float*>(tile);
  for (int row = 0; row < w.count; row += kStripRows) {
    const int rows = lanes_left(w.count - row), width = width_of(w, row);
    for (int c = 0; c < w.columns; c += kUnit) {
      Floats x[kUnit];
      unpack_unit(w, strip_of(w, row), width, w.column + c, w.columns - c, x);
      const int lanes = lanes_left(w.columns - c);
      for (int r = 0; r < rows; ++r) store_n(out + (row + r) * w.columns + c, x[r], lanes);
    }
  }
}

void multiply_f32(const BaseProduct::Args& args) {
  product({.a = args.task->dy + args.n,
           .a_row = args.task->dy_stride,
           .a_col = 1,
           .b = reinterpret_cast<const float*>(args.tile),
           .b_stride = args.columns,
           .c = args.dx,
           .c_stride = args.dx_stride,
           .m = args.rows,
           .n = args.columns,
           .depth = args.count,
           .scale = 1,
           .add = args.add});
}

constexpr BaseProduct kF32Base = {
    .piece = kProductPiece, .columns = 512, .pack = nullptr, .unpack = unpack_f32, .multiply = multiply_f32};

}  // namespace
}  // namespace chorus
