#pragma once

// Quantized products on AMX tiles; included after linear-inl.h, whose tiles take what is left over, and give
// the same bits: a group's dot product is exact in both, and what follows is the same sequence of operations.
//
// 16 rows times one strip: the tile unit multiplies a group of 32 columns and the vector unit scales and adds
// the group before it, which takes the longer. Weights are unpacked once for all rows of the rectangle, a
// panel of columns at a time.

#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/linear-inl.h"

namespace chorus {
namespace {

constexpr int kAmxRows = 16;         // of a tile of sums
constexpr int kAmxBlockRows = 64;    // that share what is unpacked: a chunk of linear_tasks.cc
constexpr int kAmxBlockStrips = 8;   // that share the rows' scales
constexpr int kAmxPanelGroups = 32;  // that are unpacked together: 16 KB of weights
constexpr int kAmxLeastRows = 6;     // fewer are done sooner without

// Of all rows, for the groups of a panel.
template <bool kHasMin>
struct AmxScales {
  alignas(64) float scales[kAmxPanelGroups][kAmxBlockRows];
  alignas(64) float sums[kHasMin ? kAmxPanelGroups : 1][kAmxBlockRows];  // what the minimum is times
};

// A panel of one strip: signed bytes, as the tile unit wants them.
template <bool kHasMin>
struct AmxWeights {
  alignas(64) int8_t quants[kAmxPanelGroups][kGroupCols * kStripRows];
  alignas(64) float scales[kAmxPanelGroups][kStripRows];
  alignas(64) float mins[kHasMin ? kAmxPanelGroups : 1][kStripRows];
};

// Tiles 0-3 take sums, 4 and 5 rows of x, 6 and 7 weights.
void configure_int8_tiles() {
  TileConfig config;
  for (int i = 0; i < 8; ++i) {
    config.rows[i] = i < 6 ? kAmxRows : kGroupCols / 4;
    config.row_bytes[i] = i == 4 || i == 5 ? kGroupCols : 64;
  }
  asm volatile("ldtilecfg %0" : : "m"(config));
}

int at_most(int value, int bound) { return value < bound ? value : bound; }

// At most so many strips and rows of `whole`.
MatmulArgs rectangle(const MatmulArgs& whole, int strip, int strips, int row, int rows) {
  const int64_t first = row * x_groups(whole);
  MatmulArgs part = whole;
  part.strips = strip_at(whole, strip);
  part.strip_count = at_most(whole.strip_count - strip, strips);
  part.columns = whole.columns - strip * kStripRows;
  part.quantized.quants += first * kGroupCols;
  part.quantized.scales += first;
  part.quantized.starts += first;
  part.quantized.sums += first;
  if (part.quantized.rest != nullptr) {
    part.quantized.rest += first * kGroupCols;
    part.quantized.rest_starts += first;
    part.quantized.fine_sums += first;
  }
  part.rows = at_most(whole.rows - row, rows);
  part.y += row * whole.y_stride + strip * kStripRows;
  if (part.bias != nullptr) part.bias += strip * kStripRows;
  return part;
}

template <bool kQ8, bool kHasMin, bool kFine>
class AmxProduct {
 public:
  explicit AmxProduct(const MatmulArgs& args)
      : args_(args), groups_((args.k + kBlockCols - 1) / kBlockCols * kGroupsPerBlock) {}

  // At most kAmxBlockRows rows and kAmxBlockStrips strips.
  void run() {
    for (int from = 0; from < groups_; from += kAmxPanelGroups) {
      panel_ = from;
      count_ = groups_ - from < kAmxPanelGroups ? groups_ - from : kAmxPanelGroups;
      for (int row = 0; row < args_.rows; row += kAmxRows) gather_scales(first_row(row));
      for (int strip = 0; strip < args_.strip_count; ++strip) {
        unpack(strip);
        for (int row = 0; row < args_.rows; row += kAmxRows) multiply(strip, row);
      }
    }
  }

 private:
  using Block = QuantizedBlock<kQ8, kHasMin>;
  static constexpr int kParts = kFine ? 2 : 1;
  static constexpr int kRing = 4 / kParts;  // groups whose sums have a tile
  struct Sums {
    alignas(64) int32_t dots[kRing][kParts][kAmxRows][kStripRows];
  };
  // The first of a tile's rows, at the panel's first column.
  struct Row {
    int first;
    int64_t stride;
    const int8_t *x, *rest;
  };

  // The last rows overlap those before, where they are not a whole tile.
  int first_row(int row) const { return row + kAmxRows <= args_.rows ? row : args_.rows - kAmxRows; }

  void gather_scales(int row) {
    for (int g = 0; g < count_; g += 16) {
      const int lanes = count_ - g < 16 ? count_ - g : 16;
      Floats scales[16], sums[16];
      const int64_t first = row * x_groups(args_) + panel_ + g;
      for (int r = 0; r < kAmxRows; ++r) {
        const int64_t at = first + r * x_groups(args_);
        scales[r] = load_n(args_.quantized.scales + at, lanes);
        const float* all = kFine ? args_.quantized.fine_sums : args_.quantized.sums;
        if constexpr (kHasMin) sums[r] = load_n(all + at, lanes);
      }
      transpose(scales);
      if constexpr (kHasMin) transpose(sums);
      for (int i = 0; i < lanes; ++i) {
        store(rows_.scales[g + i] + row, scales[i]);
        if constexpr (kHasMin) store(rows_.sums[g + i] + row, sums[i]);
      }
    }
  }

  void unpack(int strip) {
    const std::byte* block =
        Block::first(args_, strip) + static_cast<size_t>(panel_ / kGroupsPerBlock) * Block::kBlockBytes;
    for (int g = 0; g < count_; ++g) {
      const int in_block = g % kGroupsPerBlock;
      const std::byte* header = block + in_block * Block::kScaleBytes;
      const std::byte* lines = block + Block::kHeaderBytes + in_block * Block::kGroupBytes;
      unpack_group(lines, weights_.quants[g]);
      store(weights_.scales[g], load_f16(header));
      if constexpr (kHasMin) store(weights_.mins[g], load_f16(header + Block::kScaleBytes * kGroupsPerBlock));
      if (in_block == kGroupsPerBlock - 1) block += Block::kBlockBytes;
    }
  }

  static void unpack_group(const std::byte* lines, int8_t* to) {
    const Bytes zero_point = _mm512_set1_epi8(static_cast<char>(Block::kZeroPoint));
#pragma GCC unroll 8
    for (int line = 0; line < Block::kGroupBytes / 64; ++line) {
      const Bytes packed = load_bytes(lines + line * 64);
      if constexpr (kQ8) {
        _mm512_store_si512(to + line * 64, _mm512_sub_epi8(packed, zero_point));
      } else {
        _mm512_store_si512(to + line * 64, _mm512_sub_epi8(low_nibbles(packed), zero_point));
        _mm512_store_si512(to + kGroupCols / 2 * kStripRows + line * 64,
                           _mm512_sub_epi8(high_nibbles(packed), zero_point));
      }
    }
  }

  // Step t of the pipeline, kTurn = t % kRing: group t is multiplied, group t - kRing / 2 stored (the tile
  // unit has it by then), group t - kRing added.
  template <int kTurn>
  void step(const Row& row, int t, Floats (&products)[kAmxRows]) {
    constexpr int kStored = (kTurn + kRing / 2) % kRing;
    if (t < count_) multiply_group<kTurn>(row, t);
    if (t >= kRing / 2 && t - kRing / 2 < count_) {
      tile_store<kStored * kParts>(sums_.dots[kStored][0], 64);
      if constexpr (kFine) tile_store<kStored * kParts + 1>(sums_.dots[kStored][1], 64);
    }
    if (t >= kRing && t - kRing < count_) add_group(sums_.dots[kTurn], t - kRing, row.first, products);
  }

  template <int kTurn>
  void multiply_group(const Row& row, int group) const {
    constexpr int kSums = kTurn * kParts, kX = kFine ? 4 : 4 + kTurn % 2, kWeights = 6 + kTurn % 2;
    tile_zero<kSums>();
    tile_load<kX>(row.x + group * kGroupCols, row.stride);
    tile_load<kWeights>(weights_.quants[group], 64);
    tile_multiply_int8<kSums, kX, kWeights>();
    if constexpr (kFine) {
      tile_zero<kSums + 1>();
      tile_load<5>(row.rest + group * kGroupCols, row.stride);
      tile_multiply_int8<kSums + 1, 5, kWeights>();
    }
  }

  // As QuantizedTile::add_group.
  void add_group(const int32_t (&dots)[kParts][kAmxRows][kStripRows], int group, int row,
                 Floats (&products)[kAmxRows]) const {
    const Floats scales = load(weights_.scales[group]);
    const float* x_scales = one_pointer(rows_.scales[group] + row);
#pragma GCC unroll 16
    for (int r = 0; r < kAmxRows; ++r) {
      Floats dot = to_float(load_ints(dots[0][r]));
      if constexpr (kFine) dot = fma(to_float(load_ints(dots[1][r])), broadcast(kRestStep), dot);
      products[r] = fma(dot, mul(scales, broadcast(x_scales[r])), products[r]);
    }
    if constexpr (kHasMin) {
      const Floats mins = load(weights_.mins[group]);
      const float* sums = one_pointer(rows_.sums[group] + row);
#pragma GCC unroll 16
      for (int r = 0; r < kAmxRows; ++r) products[r] = fma(mins, broadcast(sums[r]), products[r]);
    }
  }

  // Or the compiler keeps sixteen, most of them in memory.
  static const float* one_pointer(const float* p) {
    asm("" : "+r"(p));
    return p;
  }

  void multiply(int strip, int row) {
    const int first = first_row(row), skip = row - first;
    const int64_t stride = x_groups(args_) * kGroupCols, at = first * stride + panel_ * kGroupCols;
    const Row tile = {first, stride, args_.quantized.quants + at,
                      kFine ? args_.quantized.rest + at : nullptr};
    Floats products[kAmxRows];
    float* kept = kept_ + (strip * kAmxBlockRows + row) * kStripRows;
#pragma GCC unroll 16
    for (int r = 0; r < kAmxRows; ++r) products[r] = panel_ == 0 ? broadcast(0) : load(kept + r * kStripRows);
    for (int t = 0; t < count_ + kRing; t += kRing) {
      step<0>(tile, t, products);
      step<1>(tile, t + 1, products);
      if constexpr (kRing > 2) {
        step<2>(tile, t + 2, products);
        step<3>(tile, t + 3, products);
      }
    }
    const bool last = panel_ + count_ == groups_;
#pragma GCC unroll 16
    for (int r = 0; r < kAmxRows; ++r) {
      if (!last) {
        store(kept + r * kStripRows, products[r]);
      } else if (r >= skip) {
        store_result(args_, strip, first + r, products[r]);
      }
    }
  }

  const MatmulArgs& args_;
  const int groups_;           // of k
  int panel_ = 0, count_ = 0;  // the panel's first group, and how many it has
  AmxScales<kHasMin> rows_;
  AmxWeights<kHasMin> weights_;
  Sums sums_;
  alignas(64) float kept_[kAmxBlockStrips * kAmxBlockRows * kStripRows];  // sums between panels
};

template <bool kQ8, bool kHasMin, bool kFine>
void multiply_strips(const MatmulArgs& args) {
  for (int strip = 0; strip < args.strip_count; strip += kAmxBlockStrips) {
    AmxProduct<kQ8, kHasMin, kFine>(rectangle(args, strip, kAmxBlockStrips, 0, args.rows)).run();
  }
}

template <bool kQ8, bool kHasMin>
void multiply_amx(const MatmulArgs& args) {
  configure_int8_tiles();
  args.quantized.rest == nullptr ? multiply_strips<kQ8, kHasMin, false>(args)
                                 : multiply_strips<kQ8, kHasMin, true>(args);
  tile_release();
}

// At most kAmxBlockRows rows, of which a few at the end may be left to the other tiles.
void matmul_block(const MatmulArgs& args) {
  if (args.rows < kAmxRows) return matmul(args);
  const int left = args.rows % kAmxRows, rows = left < kAmxLeastRows ? args.rows - left : args.rows;
  const MatmulArgs whole = rectangle(args, 0, args.strip_count, 0, rows);
  if (args.layout == MatrixLayout::kQ8) {
    multiply_amx<true, false>(whole);
  } else {
    args.has_min ? multiply_amx<false, true>(whole) : multiply_amx<false, false>(whole);
  }
  if (rows < args.rows) matmul(rectangle(args, 0, args.strip_count, rows, args.rows - rows));
}

void matmul_or_amx(const MatmulArgs& args) {
  const bool on_tiles = args.layout == MatrixLayout::kQ4 || args.layout == MatrixLayout::kQ8;
  if (!on_tiles || args.rows < kAmxRows || args.k == 0) return matmul(args);
  for (int row = 0; row < args.rows; row += kAmxBlockRows) {
    matmul_block(rectangle(args, 0, args.strip_count, row, kAmxBlockRows));
  }
}

}  // namespace
}  // namespace chorus
