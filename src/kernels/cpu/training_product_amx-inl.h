#pragma once

// ProductArgs on AMX tiles, both operands rounded to bf16: the products of adapters, which are thin; included
// after training_bf16-inl.h. Sums are f32, in order of depth, 32 terms at a time.

#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/training_bf16-inl.h"

namespace chorus {
namespace {

// c[m, n] in squares of 16, four rows of squares of them at a time and two columns; operands are packed for
// some of the depth.
class Bf16Product {
 public:
  explicit Bf16Product(const ProductArgs& args) : args_(args) {}

  void run() {
    for (row_ = 0; row_ < args_.m; row_ += kRows) {
      blocks_ = squares(args_.m - row_, kBlocks);
      for (column_ = 0; column_ < args_.n; column_ += kColumns) {
        units_ = squares(args_.n - column_, kUnits);
        multiply();
      }
    }
  }

 private:
  static constexpr int kBlocks = 4, kUnits = 4, kRows = kBlocks * kStripRows, kColumns = kUnits * kUnit;
  static constexpr int kDepth = 256, kDepthTiles = kDepth / kPackedOutputs;

  static int squares(int count, int most) {
    const int needed = (count + kStripRows - 1) / kStripRows;
    return needed < most ? needed : most;
  }

  void multiply() {
    for (depth_ = 0; depth_ < args_.depth; depth_ += kDepth) {
      const int left = args_.depth - depth_ < kDepth ? args_.depth - depth_ : kDepth;
      tiles_ = (left + kPackedOutputs - 1) / kPackedOutputs;
      for (int block = 0; block < blocks_; ++block) {
        args_.a_col == 1 ? pack_rows(block, left) : pack_columns(block, left);
      }
      for (int unit = 0; unit < units_; ++unit) pack_b(unit, left);
      for (int block = 0; block < blocks_; block += 2) {
        for (int unit = 0; unit < units_; unit += 2) add_squares(block, unit);
      }
    }
    for (int block = 0; block < blocks_; ++block) {
      for (int unit = 0; unit < units_; ++unit) finish(block, unit);
    }
  }

  int rows_from(int block) const { return lanes_left(args_.m - row_ - block * kStripRows); }

  void pack_rows(int block, int depth) {
    pack_bf16(args_.a + (row_ + block * kStripRows) * args_.a_row + depth_, args_.a_row, rows_from(block),
              depth, a_[block][0]);
  }

  // Of a whose columns are contiguous: 16 terms of 16 rows at a time change places.
  void pack_columns(int block, int depth) {
    const int rows = rows_from(block);
    const float* a = args_.a + (row_ + block * kStripRows) * args_.a_row + depth_ * args_.a_col;
    for (int l = 0; l < tiles_ * kPackedOutputs; l += kLanes) {
      Floats x[16];
      for (int i = 0; i < 16; ++i)
        x[i] = l + i < depth ? load_n(a + (l + i) * args_.a_col, rows) : broadcast(0);
      transpose(x);
      std::byte* out = a_[block][l / kPackedOutputs] + l % kPackedOutputs * 2;
      for (int r = 0; r < kStripRows; ++r) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + r * 64), (__m256i)_mm512_cvtneps_pbh(x[r]));
      }
    }
  }

  void pack_b(int unit, int depth) {
    const int lanes = lanes_left(args_.n - column_ - unit * kUnit);
    const float* b = args_.b + depth_ * args_.b_stride + column_ + unit * kUnit;
    for (int pair = 0; pair < tiles_ * kPackedOutputs / 2; ++pair) {
      const Floats low = 2 * pair < depth ? load_n(b + 2 * pair * args_.b_stride, lanes) : broadcast(0);
      const Floats high =
          2 * pair + 1 < depth ? load_n(b + (2 * pair + 1) * args_.b_stride, lanes) : broadcast(0);
      _mm512_store_si512(b_[unit][0] + pair * 64, interleave(to_bf16(low, high)));
    }
  }

  // Squares beyond the last are of whatever was packed before: they are never stored.
  void add_squares(int block, int unit) {
    start<0>(block, unit);
    start<1>(block, unit + 1);
    start<2>(block + 1, unit);
    start<3>(block + 1, unit + 1);
    const bool two_blocks = block + 1 < blocks_, two_units = unit + 1 < units_;
    for (int t = 0; t < tiles_; ++t) {
      tile_load<4>(a_[block][t], 64);
      tile_load<6>(b_[unit][t], 64);
      tile_multiply_bf16<0, 4, 6>();
      if (two_units) {
        tile_load<7>(b_[unit + 1][t], 64);
        tile_multiply_bf16<1, 4, 7>();
      }
      if (two_blocks) {
        tile_load<5>(a_[block + 1][t], 64);
        tile_multiply_bf16<2, 5, 6>();
        if (two_units) tile_multiply_bf16<3, 5, 7>();
      }
    }
    tile_store<0>(sums_[block][unit], 64);
    if (two_units) tile_store<1>(sums_[block][unit + 1], 64);
    if (two_blocks) tile_store<2>(sums_[block + 1][unit], 64);
    if (two_blocks && two_units) tile_store<3>(sums_[block + 1][unit + 1], 64);
  }

  template <int kTile>
  void start(int block, int unit) const {
    if (depth_ == 0 || block >= blocks_ || unit >= units_) return tile_zero<kTile>();
    tile_load<kTile>(sums_[block][unit], 64);
  }

  void finish(int block, int unit) const {
    const int rows = rows_from(block), lanes = lanes_left(args_.n - column_ - unit * kUnit);
    for (int r = 0; r < rows; ++r) {
      float* c = args_.c + (row_ + block * kStripRows + r) * args_.c_stride + column_ + unit * kUnit;
      const Floats before = args_.add ? load_n(c, lanes) : broadcast(0);
      store_n(c, fma(broadcast(args_.scale), load(sums_[block][unit][r]), before), lanes);
    }
  }

  const ProductArgs& args_;
  int row_ = 0, column_ = 0, depth_ = 0;
  int blocks_ = 0, units_ = 0, tiles_ = 0;
  alignas(64) std::byte a_[kBlocks][kDepthTiles][kTileBytes];
  alignas(64) std::byte b_[kUnits][kDepthTiles][kTileBytes];
  alignas(64) float sums_[kBlocks][kUnits][kStripRows][kUnit];
};

void product_in_bf16(const ProductArgs& args) {
  configure_tiles();
  Bf16Product(args).run();
  tile_release();
}

}  // namespace
}  // namespace chorus
