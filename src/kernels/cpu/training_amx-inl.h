#pragma once

// BaseProduct on AMX tiles: 32 rows times two units, four sums that share their operands; included after
// training_bf16-inl.h, whose packed dy and tiles it reads.

#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/training_bf16-inl.h"

namespace chorus {
namespace {

// GCC's intrinsics do not say what memory they read and write.
void fence() { asm volatile("" : : : "memory"); }

// Where four tiles of sums lie: rows row + 16 i and unit + j at i * down + j * 16 floats.
struct SumTiles {
  float* at;
  int64_t stride, down;  // in floats

  float* tile(int i, int j) const { return at + i * down + j * kUnit; }
  int64_t bytes() const { return stride * int64_t{sizeof(float)}; }
};

// sums = the products, added if `add`.
template <int kBlocks, int kUnits>
void multiply_tiles(const BaseProduct::Args& args, int row, int column, bool add, const SumTiles& sums) {
  const int64_t unit_bytes = unit_bytes_of(args.count);
  const std::byte* a = packed_rows(args, row);
  const std::byte* a_next = a + args.block_bytes;
  const std::byte* b = args.tile + column / kUnit * unit_bytes;
  const std::byte* b_next = b + unit_bytes;
  if (add) {
    _tile_loadd(0, sums.tile(0, 0), sums.bytes());
    if (kUnits > 1) _tile_loadd(1, sums.tile(0, 1), sums.bytes());
    if (kBlocks > 1) _tile_loadd(2, sums.tile(1, 0), sums.bytes());
    if (kBlocks > 1 && kUnits > 1) _tile_loadd(3, sums.tile(1, 1), sums.bytes());
  } else {
    _tile_zero(0);
    if (kUnits > 1) _tile_zero(1);
    if (kBlocks > 1) _tile_zero(2);
    if (kBlocks > 1 && kUnits > 1) _tile_zero(3);
  }
  for (int n = 0; n < args.count;
       n += kPackedOutputs, a += kTileBytes, a_next += kTileBytes, b += kTileBytes, b_next += kTileBytes) {
    _tile_loadd(4, a, 64);
    _tile_loadd(6, b, 64);
    if (kUnits > 1) _tile_loadd(7, b_next, 64);
    if (kBlocks > 1) _tile_loadd(5, a_next, 64);
    _tile_dpbf16ps(0, 4, 6);
    if (kUnits > 1) _tile_dpbf16ps(1, 4, 7);
    if (kBlocks > 1) _tile_dpbf16ps(2, 5, 6);
    if (kBlocks > 1 && kUnits > 1) _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, sums.tile(0, 0), sums.bytes());
  if (kUnits > 1) _tile_stored(1, sums.tile(0, 1), sums.bytes());
  if (kBlocks > 1) _tile_stored(2, sums.tile(1, 0), sums.bytes());
  if (kBlocks > 1 && kUnits > 1) _tile_stored(3, sums.tile(1, 1), sums.bytes());
}

// Rows or columns of a tile that dx has not: the sums go by memory where it has.
template <int kBlocks, int kUnits>
void amx_edge(const BaseProduct::Args& args, int row, int column) {
  alignas(64) float sums[2 * kStripRows][2 * kUnit] = {};
  const int rows = args.rows - row < kBlocks * kStripRows ? args.rows - row : kBlocks * kStripRows;
  const int columns = args.columns - column < kUnits * kUnit ? args.columns - column : kUnits * kUnit;
  float* dx = args.dx + row * args.dx_stride + column;
  for (int r = 0; args.add && r < rows; ++r) {
    __builtin_memcpy(sums[r], dx + r * args.dx_stride, static_cast<size_t>(columns) * sizeof(float));
  }
  fence();
  multiply_tiles<kBlocks, kUnits>(args, row, column, args.add, {sums[0], 2 * kUnit, kStripRows * 2 * kUnit});
  fence();
  for (int r = 0; r < rows; ++r) {
    __builtin_memcpy(dx + r * args.dx_stride, sums[r], static_cast<size_t>(columns) * sizeof(float));
  }
}

template <int kBlocks, int kUnits>
void amx_tile(const BaseProduct::Args& args, int row, int column) {
  if (row + kBlocks * kStripRows > args.rows || column + kUnits * kUnit > args.columns) {
    return amx_edge<kBlocks, kUnits>(args, row, column);
  }
  float* dx = args.dx + row * args.dx_stride + column;
  multiply_tiles<kBlocks, kUnits>(args, row, column, args.add,
                                  {dx, args.dx_stride, kStripRows * args.dx_stride});
}

template <int kBlocks>
void amx_rows(const BaseProduct::Args& args, int row) {
  int column = 0;
  for (; column + kUnit < args.columns; column += 2 * kUnit) amx_tile<kBlocks, 2>(args, row, column);
  if (column < args.columns) amx_tile<kBlocks, 1>(args, row, column);
}

void multiply_amx(const BaseProduct::Args& args) {
  fence();
  configure_tiles();
  int row = 0;
  for (; row + kStripRows < args.rows; row += 2 * kStripRows) amx_rows<2>(args, row);
  if (row < args.rows) amx_rows<1>(args, row);
  _tile_release();
  fence();
}

constexpr BaseProduct kAmxBase = {
    .piece = 512, .columns = 512, .pack = pack_bf16, .unpack = unpack_bf16, .multiply = multiply_amx};

}  // namespace
}  // namespace chorus
