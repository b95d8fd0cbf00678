#pragma once

// Products of x and weights of any layout in bf16 on AMX tiles; included after the headers of a table of
// AVX-512. Both operands are rounded to bf16, sums are f32: the forward pass of training, whose rows are
// many. Sums are taken in order of k, 32 columns at a time, for every row alike.

#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/linear-inl.h"
#include "kernels/cpu/training_bf16-inl.h"

namespace chorus {
namespace {

constexpr int kForwardRows = 256, kForwardStrips = 16;       // of a rectangle that is done at once
constexpr int kForwardPanel = 640;                           // columns of it
constexpr int kPanelTiles = kForwardPanel / kPackedOutputs;  // of 32 columns

class ForwardProduct {
 public:
  // At most kForwardRows rows and kForwardStrips strips.
  explicit ForwardProduct(const MatmulArgs& args)
      : args_(args), blocks_((args.rows + kStripRows - 1) / kStripRows) {}

  void run() {
    const int panels = (args_.k + kForwardPanel - 1) / kForwardPanel;
    const int step = whole_tiles((args_.k + panels - 1) / panels) * kPackedOutputs;
    for (panel_ = 0; panel_ < args_.k; panel_ += step) {
      columns_ = args_.k - panel_ < step ? args_.k - panel_ : step;
      for (int block = 0; block < blocks_; ++block) pack(block);
      int strip = 0;
      for (; strip + 1 < args_.strip_count; strip += 2) multiply_strips<2>(strip);
      if (strip < args_.strip_count) multiply_strips<1>(strip);
    }
    for (int block = 0; block < blocks_; ++block) {
      for (int strip = 0; strip < args_.strip_count; ++strip) {
        if (!in_place(block, strip)) finish(block, strip);
      }
    }
  }

 private:
  // Whether y itself takes the sums of a tile: else they are made beside it.
  bool in_place(int block, int strip) const {
    return args_.bias == nullptr && args_.scale == 1 && args_.rows - block * kStripRows >= kStripRows &&
           width_of(args_, strip) == kStripRows;
  }
  float* sums_at(int block, int strip) {
    if (!in_place(block, strip)) return sums_[block][strip][0];
    return args_.y + block * kStripRows * args_.y_stride + strip * kStripRows;
  }
  int64_t sums_stride(int block, int strip) const {  // in bytes
    return in_place(block, strip) ? args_.y_stride * int64_t{sizeof(float)} : 64;
  }

  void finish(int block, int strip) const {
    const int row = block * kStripRows, rows = lanes_left(args_.rows - row);
    for (int r = 0; r < rows; ++r) store_result(args_, strip, row + r, load(sums_[block][strip][r]));
  }

  int tiles() const { return whole_tiles(columns_); }

  void pack(int block) {
    const int row = block * kStripRows;
    pack_bf16(args_.x + int64_t{row} * args_.x_cols + panel_, args_.x_cols, lanes_left(args_.rows - row),
              columns_, x_[block][0]);
  }

  // Pairs of columns of the 16 rows of W, as the tile unit wants them.
  void unpack(int strip, std::byte (&to)[kPanelTiles][kTileBytes]) const {
    WeightTile tile;
    tile.layout = args_.layout;
    tile.has_min = args_.has_min;
    const int units = tiles() * 2;
    for (int unit = 0; unit < units; ++unit) {
      Floats x[kUnit];
      unpack_lanes(tile, strip_at(args_, strip), width_of(args_, strip),
                   args_.k_begin + panel_ + unit * kUnit, columns_ - unit * kUnit, x);
      std::byte* out = to[unit / 2] + unit % 2 * kTileBytes / 2;
#pragma GCC unroll 8
      for (int p = 0; p < kUnit / 2; ++p) {
        _mm512_storeu_si512(out + p * 64, interleave(to_bf16(x[2 * p], x[2 * p + 1])));
      }
    }
  }

  template <int kStrips>
  void multiply_strips(int strip) {
    for (int s = 0; s < kStrips; ++s) unpack(strip + s, weights_[s]);
    int block = 0;
    for (; block + 1 < blocks_; block += 2) multiply<2, kStrips>(block, strip);
    if (block < blocks_) multiply<1, kStrips>(block, strip);
  }

  template <int kBlocks, int kStrips>
  void multiply(int block, int strip) {
    start<0>(block, strip);
    if constexpr (kStrips > 1) start<1>(block, strip + 1);
    if constexpr (kBlocks > 1) start<2>(block + 1, strip);
    if constexpr (kBlocks > 1 && kStrips > 1) start<3>(block + 1, strip + 1);
    for (int t = 0; t < tiles(); ++t) {
      tile_load<4>(x_[block][t], 64);
      tile_load<6>(weights_[0][t], 64);
      tile_multiply_bf16<0, 4, 6>();
      if constexpr (kStrips > 1) {
        tile_load<7>(weights_[1][t], 64);
        tile_multiply_bf16<1, 4, 7>();
      }
      if constexpr (kBlocks > 1) {
        tile_load<5>(x_[block + 1][t], 64);
        tile_multiply_bf16<2, 5, 6>();
        if constexpr (kStrips > 1) tile_multiply_bf16<3, 5, 7>();
      }
    }
    stop<0>(block, strip);
    if constexpr (kStrips > 1) stop<1>(block, strip + 1);
    if constexpr (kBlocks > 1) stop<2>(block + 1, strip);
    if constexpr (kBlocks > 1 && kStrips > 1) stop<3>(block + 1, strip + 1);
  }

  template <int kTile>
  void start(int block, int strip) {
    if (panel_ == 0 && !(args_.add && in_place(block, strip))) return tile_zero<kTile>();
    tile_load<kTile>(sums_at(block, strip), sums_stride(block, strip));
  }
  template <int kTile>
  void stop(int block, int strip) {
    tile_store<kTile>(sums_at(block, strip), sums_stride(block, strip));
  }

  const MatmulArgs& args_;
  const int blocks_;             // of 16 rows
  int panel_ = 0, columns_ = 0;  // the panel's first column, of k, and how many it has
  alignas(64) std::byte x_[kForwardRows / kStripRows][kPanelTiles][kTileBytes];
  alignas(64) std::byte weights_[2][kPanelTiles][kTileBytes];
  alignas(64) float sums_[kForwardRows / kStripRows][kForwardStrips][kStripRows][kStripRows];
};

// Of the dense layouts and of those whose x is at hand as floats.
MatmulArgs floats_rectangle(const MatmulArgs& whole, int strip, int row) {
  const int strips = whole.strip_count - strip, rows = whole.rows - row;
  MatmulArgs part = whole;
  part.strips = strip_at(whole, strip);
  part.strip_count = strips < kForwardStrips ? strips : kForwardStrips;
  part.columns = whole.columns - strip * kStripRows;
  part.x += int64_t{row} * whole.x_cols;
  part.rows = rows < kForwardRows ? rows : kForwardRows;
  part.y += row * whole.y_stride + strip * kStripRows;
  if (part.bias != nullptr) part.bias += strip * kStripRows;
  return part;
}

void matmul_in_bf16(const MatmulArgs& args) {
  if (args.layout == MatrixLayout::kQ8Short || args.k == 0) return matmul(args);
  configure_tiles();
  for (int row = 0; row < args.rows; row += kForwardRows) {
    for (int strip = 0; strip < args.strip_count; strip += kForwardStrips) {
      ForwardProduct(floats_rectangle(args, strip, row)).run();
    }
  }
  tile_release();
}

}  // namespace
}  // namespace chorus
