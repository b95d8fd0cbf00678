#pragma once

// Products of packed weights and rows of activations; included after a simd header.
//
// Every output element is the same sequence of operations whatever tile it is computed in: int8 groups in
// order of k, p = fma(dot, scale * x_scale, p) each, then p = fma(min, x_sum, p) (add_group below); dense
// weights in four chains (k mod 4), added as (0 + 1) + (2 + 3).

#include "kernels/cpu/strip-inl.h"

namespace chorus {
namespace {

void store_result(const MatmulArgs& args, int strip, int row, Floats product) {
  const int column = strip * kStripRows, lanes = width_of(args, strip);
  float* y = args.y + row * args.y_stride + column;
  if (args.bias != nullptr) product = chorus::add(product, load_n(args.bias + column, lanes));
  if (args.add) product = fma(broadcast(args.scale), product, load_n(y, lanes));
  store_n(y, product, lanes);
}

// Loops over a tile are unrolled by pragma: only then do its sums live in registers.

// kFine: rows with their rest (QuantizedRows), which shares the loads and the unpacking of the weights.
template <bool kQ8, bool kHasMin, bool kFine>
struct QuantizedTile {
  using Block = QuantizedBlock<kQ8, kHasMin>;
  static constexpr int kParts = kFine ? 2 : 1;  // of a row: its quants, and their rest

  // Where a tile stands: at a block of its first strip, and the same 64 columns of its first row.
  struct Position {
    const std::byte* block;
    size_t strip_bytes;
    const int8_t* x[kParts];
    const int32_t* starts[kParts];
    const float *x_scales, *x_sums;
    int64_t groups;  // of a row
  };

  // The dot products of group g of the block, added to dots.
  template <int kStrips, int kRows>
  static void dot_group(const Position& at, int g, Ints (&dots)[kParts][kStrips][kRows]) {
    const std::byte* weights = at.block + Block::kHeaderBytes + g * Block::kGroupBytes;
#pragma GCC unroll 8
    for (int line = 0; line < Block::kGroupBytes / 64; ++line) {
#pragma GCC unroll 2
      for (int half = 0; half < (kQ8 ? 1 : 2); ++half) {
        const int column = g * kGroupCols + half * (kGroupCols / 2) + 4 * line;
#pragma GCC unroll 2
        for (int s = 0; s < kStrips; ++s) {
          const Bytes packed = load_bytes(weights + static_cast<size_t>(s) * at.strip_bytes + line * 64);
          const Bytes unpacked = kQ8 ? packed : half == 0 ? low_nibbles(packed) : high_nibbles(packed);
#pragma GCC unroll 2
          for (int p = 0; p < kParts; ++p) {
#pragma GCC unroll 8
            for (int r = 0; r < kRows; ++r) {
              const Bytes quad = broadcast4(at.x[p] + r * at.groups * kGroupCols + column);
              Ints& dot = dots[p][s][r];
              dot = kQ8 ? dot8(dot, unpacked, quad) : dot4(dot, unpacked, quad);
            }
          }
        }
      }
    }
  }

  // Weights are stored unsigned; a dot product that starts at -zero_point * sum(x) takes their offset out
  // again.
  static Ints start_of(const int32_t* start) {
    if constexpr (kHasMin) return broadcast_int(0);
    return kQ8 ? shift_left(broadcast_int(*start), kQ8StartShift) : broadcast_int(*start);
  }

  // The products of group g of the block, added: dot * (scale * x_scale), where the rest's dot product counts
  // a 254th, then the minimum's share.
  template <int kStrips, int kRows>
  static void add_group(const Position& at, int g, Floats (&products)[kStrips][kRows]) {
    Ints dots[kParts][kStrips][kRows];
#pragma GCC unroll 2
    for (int p = 0; p < kParts; ++p) {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const Ints start = start_of(at.starts[p] + r * at.groups + g);
#pragma GCC unroll 2
        for (int s = 0; s < kStrips; ++s) dots[p][s][r] = start;
      }
    }
    dot_group<kStrips, kRows>(at, g, dots);
#pragma GCC unroll 2
    for (int s = 0; s < kStrips; ++s) {
      const std::byte* header = at.block + static_cast<size_t>(s) * at.strip_bytes + g * Block::kScaleBytes;
      const Floats scales = load_f16(header);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        Floats dot = to_float(dots[0][s][r]);
        if constexpr (kFine) dot = fma(to_float(dots[1][s][r]), broadcast(kRestStep), dot);
        const Floats x_scale = broadcast(at.x_scales[r * at.groups + g]);
        products[s][r] = fma(dot, mul(scales, x_scale), products[s][r]);
      }
      if constexpr (kHasMin) {
        const Floats mins = load_f16(header + Block::kScaleBytes * kGroupsPerBlock);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          products[s][r] = fma(mins, broadcast(at.x_sums[r * at.groups + g]), products[s][r]);
        }
      }
    }
  }

  template <int kStrips, int kRows>
  static void run(const MatmulArgs& args, int strip, int row) {
    const int groups = (args.k + kBlockCols - 1) / kBlockCols * kGroupsPerBlock;
    const int64_t first = row * x_groups(args);
    const QuantizedRows& x = args.quantized;
    Position at = {Block::first(args, strip),
                   args.strip_bytes,
                   {x.quants + first * kGroupCols},
                   {x.starts + first},
                   x.scales + first,
                   (kFine ? x.fine_sums : x.sums) + first,
                   x_groups(args)};
    if constexpr (kFine) {
      at.x[1] = x.rest + first * kGroupCols;
      at.starts[1] = x.rest_starts + first;
    }
    Floats products[kStrips][kRows];
#pragma GCC unroll 2
    for (int s = 0; s < kStrips; ++s) {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) products[s][r] = broadcast(0);
    }
    for (int done = 0; done < groups; done += kGroupsPerBlock) {
      if constexpr (kStrips == 1) Block::prefetch(at.block + kPrefetchBytes);
#pragma GCC unroll 2
      for (int g = 0; g < kGroupsPerBlock; ++g) add_group(at, g, products);
      at.block += Block::kBlockBytes;
      at.x_scales += kGroupsPerBlock;
      at.x_sums += kGroupsPerBlock;
#pragma GCC unroll 2
      for (int p = 0; p < kParts; ++p) {
        at.x[p] += kBlockCols;
        at.starts[p] += kGroupsPerBlock;
      }
    }
#pragma GCC unroll 2
    for (int s = 0; s < kStrips; ++s) {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) store_result(args, strip + s, row + r, products[s][r]);
    }
  }
};

template <MatrixLayout kLayout>
struct DenseTile {
  static constexpr int kElementBytes = kLayout == MatrixLayout::kF32 ? 4 : 2;

  // 16 lanes, of which those past the strip's width hold what comes next in memory: they are never stored.
  static Floats load_line(const std::byte* strip, int width, int k) {
    const std::byte* line = strip + int64_t{k} * width * kElementBytes;
    if constexpr (kLayout == MatrixLayout::kF32) {
      return load(reinterpret_cast<const float*>(line));
    } else if constexpr (kLayout == MatrixLayout::kF16) {
      return load_f16(line);
    } else {
      return load_bf16(line);
    }
  }

  template <int kStrips, int kRows>
  static void run(const MatmulArgs& args, int strip, int row) {
    static_assert(kStrips == 1);
    const int width = width_of(args, strip);
    const std::byte* weights = strip_at(args, strip) + int64_t{args.k_begin} * width * kElementBytes;
    const float* x = args.x + int64_t{row} * args.x_cols;
    Floats chains[kRows][kChains];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < kChains; ++c) chains[r][c] = broadcast(0);
    }
    int k = 0;
    for (; k + kChains <= args.k; k += kChains) {
#pragma GCC unroll 4
      for (int c = 0; c < kChains; ++c)
        add_line(load_line(weights, width, k + c), x + k + c, args.x_cols, c, chains);
    }
#pragma GCC unroll 4
    for (int c = 0; c < kChains; ++c) {
      if (k + c < args.k) add_line(load_line(weights, width, k + c), x + k + c, args.x_cols, c, chains);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Floats product =
          chorus::add(chorus::add(chains[r][0], chains[r][1]), chorus::add(chains[r][2], chains[r][3]));
      store_result(args, strip, row + r, product);
    }
  }

 private:
  // One column of the strip times that of each row, into the chain it belongs to.
  template <int kRows>
  static void add_line(Floats line, const float* x, int64_t x_stride, int chain,
                       Floats (&chains)[kRows][kChains]) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      chains[r][chain] = fma(line, broadcast(x[r * x_stride]), chains[r][chain]);
    }
  }
};

// See expand-inl.h.
template <int kRows>
void expand_strip(const MatmulArgs& args, const ShrunkRows& u, int strip, int row, int first) {
  Floats products[kRows];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) products[r] = broadcast(0);
  for (int g = 0; g * kGroupCols < args.k; ++g) {
    const ShortGroup group(strip_at(args, strip), g, args.k);
    Ints dots[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) dots[r] = broadcast_int(u.starts[first + r][g] * (1 << kQ8StartShift));
    for (int line = 0; line < group.lines; ++line) {
      const Bytes weights = load_bytes(group.weights + line * 64);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        dots[r] = dot8(dots[r], weights, broadcast4(u.quants[first + r] + g * kGroupCols + 4 * line));
      }
    }
    const Floats scales = load_f16(group.scales);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      products[r] = fma(to_float(dots[r]), mul(scales, broadcast(u.scales[first + r][g])), products[r]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) store_result(args, strip, row + r, products[r]);
}

// One tile of `rows` rows, at most kRows.
template <typename Tile, int kStrips, int kRows>
void run_tile(const MatmulArgs& args, int strip, int row, int rows) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return run_tile<Tile, kStrips, kRows - 1>(args, strip, row, rows);
  }
  Tile::template run<kStrips, kRows>(args, strip, row);
}

template <typename Tile, int kStrips, int kRows>
void run_rows(const MatmulArgs& args, int strip) {
  for (int row = 0; row < args.rows; row += kRows) {
    run_tile<Tile, kStrips, kRows>(args, strip, row, args.rows - row);
  }
}

// Rows with their rest have twice the dot products, and as many registers less for rows.
constexpr int kFineTileRows = (2 * kTileRows + 2) / 3;

template <typename Tile, int kManyRows>
void matmul_strips(const MatmulArgs& args) {
  int strip = 0;
  if (args.rows > kDecodeRows) {
    for (; strip + kTileStrips <= args.strip_count; strip += kTileStrips) {
      run_rows<Tile, kTileStrips, kManyRows>(args, strip);
    }
  }
  for (; strip < args.strip_count; ++strip) run_rows<Tile, 1, kDecodeRows>(args, strip);
}

template <bool kQ8, bool kHasMin>
void matmul_quantized(const MatmulArgs& args) {
  if (args.quantized.rest == nullptr) {
    return matmul_strips<QuantizedTile<kQ8, kHasMin, false>, kTileRows>(args);
  }
  matmul_strips<QuantizedTile<kQ8, kHasMin, true>, kFineTileRows>(args);
}

template <MatrixLayout kLayout>
void matmul_dense(const MatmulArgs& args) {
  for (int strip = 0; strip < args.strip_count; ++strip) {
    run_rows<DenseTile<kLayout>, 1, kDenseRows>(args, strip);
  }
}

}  // namespace
}  // namespace chorus
