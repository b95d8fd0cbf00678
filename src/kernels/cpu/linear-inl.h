#pragma once

// Products of packed weights and rows of activations; included after a simd header.
//
// Every output element is the same sequence of operations whatever tile it is computed in: int8 groups in
// order of k, one multiply-add each; dense weights in four chains (k mod 4), added as (0 + 1) + (2 + 3).

#include "kernels/cpu/leaves.h"

namespace chorus {
namespace {

constexpr int kGroupsPerBlock = kBlockCols / kGroupCols;
constexpr int kChains = 4;

// Start of a rectangle's strip.
const std::byte* strip_at(const MatmulArgs& args, int strip) {
  return args.strips + args.strip_bytes * static_cast<size_t>(strip);
}

void store_result(const MatmulArgs& args, int strip, int row, Floats product) {
  const int column = strip * kStripRows;
  const int lanes = args.columns - column < kStripRows ? args.columns - column : kStripRows;
  float* y = args.y + row * args.y_stride + column;
  if (args.bias != nullptr) product = chorus::add(product, load_n(args.bias + column, lanes));
  if (args.add) product = fma(broadcast(args.scale), product, load_n(y, lanes));
  store_n(y, product, lanes);
}

// The dot products of one group of 32 columns: kStrips strips times kRows rows, `x` being the first row's
// group.
template <bool kQ8, int kStrips, int kRows>
void dot_group(const std::byte* const (&weights)[kStrips], const int8_t* x, int64_t x_stride,
               Ints (&dots)[kStrips][kRows]) {
  for (int line = 0; line < (kQ8 ? 8 : 4); ++line) {
    Bytes packed[kStrips];
    for (int s = 0; s < kStrips; ++s) packed[s] = load_bytes(weights[s] + line * 64);
    for (int r = 0; r < kRows; ++r) {
      const Bytes quad = broadcast4(x + r * x_stride + 4 * line);
      for (int s = 0; s < kStrips; ++s) {
        if constexpr (kQ8) {
          dots[s][r] = dot8(dots[s][r], packed[s], quad);
        } else {
          dots[s][r] = dot4(dots[s][r], low_nibbles(packed[s]), quad);
        }
      }
    }
    if constexpr (!kQ8) {
      for (int r = 0; r < kRows; ++r) {
        const Bytes quad = broadcast4(x + r * x_stride + kGroupCols / 2 + 4 * line);
        for (int s = 0; s < kStrips; ++s) dots[s][r] = dot4(dots[s][r], high_nibbles(packed[s]), quad);
      }
    }
  }
}

template <bool kQ8, bool kHasMin>
struct QuantizedTile {
  static constexpr int kScaleBytes = 2 * kStripRows;  // of one group
  static constexpr int kGroupBytes = kStripRows * kGroupCols / (kQ8 ? 1 : 2);
  static constexpr int kHeaderBytes = kScaleBytes * kGroupsPerBlock * (kHasMin ? 2 : 1);
  static constexpr int kBlockBytes = kHeaderBytes + kGroupBytes * kGroupsPerBlock;
  static constexpr int kZeroPoint = kHasMin ? 0 : kQ8 ? 128 : 8;

  template <int kStrips, int kRows>
  static void run(const MatmulArgs& args, int strip, int row) {
    const int groups = (args.k + kBlockCols - 1) / kBlockCols * kGroupsPerBlock;
    const int8_t* x = args.quantized.quants + int64_t{row} * groups * kGroupCols;
    const float* x_scales = args.quantized.scales + int64_t{row} * groups;
    const int32_t* x_sums = args.quantized.sums + int64_t{row} * groups;
    Floats products[kStrips][kRows];
    for (auto& of_strip : products) {
      for (Floats& product : of_strip) product = broadcast(0);
    }
    for (int g = 0; g < groups; ++g) {
      const std::byte* blocks[kStrips];
      const std::byte* weights[kStrips];
      for (int s = 0; s < kStrips; ++s) {
        blocks[s] = strip_at(args, strip + s) + int64_t{g / kGroupsPerBlock} * kBlockBytes +
                    g % kGroupsPerBlock * kScaleBytes;
        weights[s] = blocks[s] + kHeaderBytes + g % kGroupsPerBlock * (kGroupBytes - kScaleBytes);
      }
      // Weights are stored unsigned; starting at -zero_point * sum(x) takes their offset out again.
      Ints dots[kStrips][kRows];
      for (int r = 0; r < kRows; ++r) {
        for (int s = 0; s < kStrips; ++s) {
          dots[s][r] = broadcast_int(-kZeroPoint * x_sums[int64_t{r} * groups + g]);
        }
      }
      dot_group<kQ8>(weights, x + g * kGroupCols, int64_t{groups} * kGroupCols, dots);
      for (int s = 0; s < kStrips; ++s) {
        const Floats scales = load_f16(blocks[s]);
        for (int r = 0; r < kRows; ++r) {
          const float x_scale = x_scales[int64_t{r} * groups + g];
          products[s][r] = fma(to_float(dots[s][r]), mul(scales, broadcast(x_scale)), products[s][r]);
          if constexpr (kHasMin) {
            const float x_sum = x_scale * static_cast<float>(x_sums[int64_t{r} * groups + g]);
            const Floats mins = load_f16(blocks[s] + kScaleBytes * kGroupsPerBlock);
            products[s][r] = fma(mins, broadcast(x_sum), products[s][r]);
          }
        }
      }
    }
    for (int s = 0; s < kStrips; ++s) {
      for (int r = 0; r < kRows; ++r) store_result(args, strip + s, row + r, products[s][r]);
    }
  }
};

template <MatrixLayout kLayout>
struct DenseTile {
  static constexpr int kElementBytes = kLayout == MatrixLayout::kF32 ? 4 : 2;

  static Floats load_line(const std::byte* strip, int k) {
    const std::byte* line = strip + int64_t{k} * kStripRows * kElementBytes;
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
    const std::byte* weights = strip_at(args, strip);
    const float* x = args.x + int64_t{row} * args.k;
    Floats chains[kRows][kChains];
    for (auto& of_row : chains) {
      for (Floats& chain : of_row) chain = broadcast(0);
    }
    int k = 0;
    for (; k + kChains <= args.k; k += kChains) {
      for (int c = 0; c < kChains; ++c) {
        const Floats line = load_line(weights, k + c);
        for (int r = 0; r < kRows; ++r) {
          chains[r][c] = fma(line, broadcast(x[int64_t{r} * args.k + k + c]), chains[r][c]);
        }
      }
    }
    for (int c = 0; c < args.k - k; ++c) {
      const Floats line = load_line(weights, k + c);
      for (int r = 0; r < kRows; ++r) {
        chains[r][c] = fma(line, broadcast(x[int64_t{r} * args.k + k + c]), chains[r][c]);
      }
    }
    for (int r = 0; r < kRows; ++r) {
      const Floats product =
          chorus::add(chorus::add(chains[r][0], chains[r][1]), chorus::add(chains[r][2], chains[r][3]));
      store_result(args, strip, row + r, product);
    }
  }
};

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

template <typename Tile>
void matmul_quantized(const MatmulArgs& args) {
  int strip = 0;
  if (args.rows > kDecodeRows) {
    for (; strip + kTileStrips <= args.strip_count; strip += kTileStrips) {
      run_rows<Tile, kTileStrips, kTileRows>(args, strip);
    }
  }
  for (; strip < args.strip_count; ++strip) run_rows<Tile, 1, kDecodeRows>(args, strip);
}

template <typename Tile>
void matmul_dense(const MatmulArgs& args) {
  for (int strip = 0; strip < args.strip_count; ++strip) run_rows<Tile, 1, kDenseRows>(args, strip);
}

void matmul(const MatmulArgs& args) {
  switch (args.layout) {
    case MatrixLayout::kF32:
      return matmul_dense<DenseTile<MatrixLayout::kF32>>(args);
    case MatrixLayout::kF16:
      return matmul_dense<DenseTile<MatrixLayout::kF16>>(args);
    case MatrixLayout::kBF16:
      return matmul_dense<DenseTile<MatrixLayout::kBF16>>(args);
    case MatrixLayout::kQ8:
      return matmul_quantized<QuantizedTile<true, false>>(args);
    case MatrixLayout::kQ4:
      if (args.has_min) return matmul_quantized<QuantizedTile<false, true>>(args);
      return matmul_quantized<QuantizedTile<false, false>>(args);
  }
}

}  // namespace
}  // namespace chorus
