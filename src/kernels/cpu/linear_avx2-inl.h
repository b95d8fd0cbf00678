#pragma once

// The tiles of linear-inl.h for 16 registers of 8 lanes: half a strip times more rows, which shares the
// unpacking of the weights among six of them. Few rows take both halves at once, to stream a strip from
// memory. Every output element is the same sequence of operations in any tile, and that of linear-inl.h.

#include "kernels/cpu/strip-inl.h"

namespace chorus {
namespace {

constexpr int kHalfRows = kStripRows / 2;

void store_result(const MatmulArgs& args, int strip, int half, int row, __m256 product) {
  const int column = strip * kStripRows + half * kHalfRows;
  const __m256i lanes = first_lanes(args.columns - column);
  float* y = args.y + row * args.y_stride + column;
  if (args.bias != nullptr) product = _mm256_add_ps(product, _mm256_maskload_ps(args.bias + column, lanes));
  if (args.add) {
    product = _mm256_fmadd_ps(_mm256_set1_ps(args.scale), product, _mm256_maskload_ps(y, lanes));
  }
  _mm256_maskstore_ps(y, lanes, product);
}

// A place in each of six rows, by two pointers and a distance: with one pointer a row the general registers
// would not do.
template <typename T>
struct RowPointer {
  const T *first, *fourth;
  int64_t stride;

  RowPointer(const T* rows, int row, int64_t row_length)
      : first(rows + row * row_length), fourth(first + 3 * row_length), stride(row_length) {}
  const T* row(int r) const { return r < 3 ? first + r * stride : fourth + (r - 3) * stride; }
  void move(int64_t offset) {
    first += offset;
    fourth += offset;
  }
  RowPointer at(int64_t offset) const {
    RowPointer moved = *this;
    moved.move(offset);
    return moved;
  }
  auto broadcast(int r) const { return broadcast_eight(*row(r)); }
  // The compiler knows no more what lies there, and loads it again: no registers could hold it for so long.
  void forget() { asm("" : "+r"(first), "+r"(fourth)); }
};

// f(element, half, row) for a tile's registers. Unrolled by pragma, as all loops over a tile: only then do
// its sums live in registers.
template <typename Register, int kHalves, int kRows, typename F>
void for_each(Register (&tile)[kHalves][kRows], F f) {
#pragma GCC unroll 2
  for (int h = 0; h < kHalves; ++h) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) f(tile[h][r], h, r);
  }
}

// kFine: rows with their rest (QuantizedRows), whose dot products are taken after those of the quants.
template <bool kQ8, bool kHasMin, bool kFine>
struct QuantizedTile {
  using Block = QuantizedBlock<kQ8, kHasMin>;
  static constexpr int kPlanes = kQ8 ? kBytePlanes : 1;
  static constexpr int kStartShift = kQ8 ? kQ8StartShift : 0;

  // Where a tile's rows stand: at one group of them.
  struct Rows {
    RowPointer<int8_t> quants, rest;
    RowPointer<int32_t> starts, rest_starts;
    RowPointer<float> scales, sums;

    Rows(const QuantizedRows& rows, int row, int64_t groups)
        : quants(rows.quants, row, groups * kGroupCols),
          rest(rows.rest, row, groups * kGroupCols),
          starts(rows.starts, row, groups),
          rest_starts(rows.rest_starts, row, groups),
          scales(rows.scales, row, groups),
          sums(kFine ? rows.fine_sums : rows.sums, row, groups) {}
    void next_group() {
      quants.move(kGroupCols);
      rest.move(kGroupCols);
      starts.move(1);
      rest_starts.move(1);
      scales.move(1);
      sums.move(1);
    }
  };

  // A group's line of weights times kRows rows' quants; `nibble` picks a byte's half of kQ4.
  template <int kRows>
  static void dot_line(__m256i packed, int plane, int nibble, RowPointer<int8_t> x, __m256i (&sums)[kRows]) {
    const __m256i weights = kQ8           ? plane_of(packed, plane)
                            : nibble == 0 ? low_nibbles(packed)
                                          : high_nibbles(packed);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) sums[r] = add_quads(sums[r], weights, broadcast4(x.row(r)));
  }

  // The dot products of one group of 32 columns, with the weights as stored, unsigned.
  template <int kHalves, int kRows>
  static void dot_group(const std::byte* weights, RowPointer<int8_t> x, __m256i (&dots)[kHalves][kRows]) {
    for_each(dots, [](__m256i& dot, int, int) { dot = _mm256_setzero_si256(); });
#pragma GCC unroll 2
    for (int plane = 0; plane < kPlanes; ++plane) {
      __m256i sums[kHalves][kRows];
      for_each(sums, [&](__m256i& sum, int h, int r) { sum = begin_plane(dots[h][r]); });
#pragma GCC unroll 8
      for (int line = 0; line < Block::kGroupBytes / 64; ++line) {
#pragma GCC unroll 2
        for (int nibble = 0; nibble < (kQ8 ? 1 : 2); ++nibble) {
#pragma GCC unroll 2
          for (int h = 0; h < kHalves; ++h) {
            const __m256i packed = load_bytes(weights + line * 64 + h * 32);
            dot_line(packed, plane, nibble, x.at(nibble * (kGroupCols / 2) + 4 * line), sums[h]);
          }
        }
      }
      for_each(dots, [&](__m256i& dot, int h, int r) { dot = end_plane(dot, sums[h][r], plane); });
      x.forget();
    }
  }

  // zero_point * sum(x) takes the weights' offset out.
  static __m256 signed_dot(__m256i dot, __m256i start) {
    if constexpr (!kHasMin) dot = _mm256_add_epi32(dot, _mm256_slli_epi32(start, kStartShift));
    return _mm256_cvtepi32_ps(dot);
  }

  // A group's products, added as in linear-inl.h. The header is that of the first half.
  template <int kHalves, int kRows>
  static void add_group(const std::byte* weights, const std::byte* header, const Rows& x,
                        __m256 (&products)[kHalves][kRows]) {
    __m256i dots[kHalves][kRows];
    dot_group(weights, x.quants, dots);
    [[maybe_unused]] __m256 values[kHalves][kRows];
    if constexpr (kFine) {
      for_each(values,
               [&](__m256& value, int h, int r) { value = signed_dot(dots[h][r], x.starts.broadcast(r)); });
      dot_group(weights, x.rest, dots);
    }
    for_each(products, [&](__m256& product, int h, int r) {
      const std::byte* of_half = header + h * Block::kScaleBytes / 2;
      const __m256 scale = _mm256_mul_ps(load_eight_f16(of_half), x.scales.broadcast(r));
      __m256 dot;
      if constexpr (kFine) {
        const __m256 lost = signed_dot(dots[h][r], x.rest_starts.broadcast(r));
        dot = _mm256_fmadd_ps(lost, _mm256_set1_ps(kRestStep), values[h][r]);
      } else {
        dot = signed_dot(dots[h][r], x.starts.broadcast(r));
      }
      product = _mm256_fmadd_ps(dot, scale, product);
      if constexpr (kHasMin) {
        const __m256 mins = load_eight_f16(of_half + Block::kScaleBytes * kGroupsPerBlock);
        product = _mm256_fmadd_ps(mins, x.sums.broadcast(r), product);
      }
    });
  }

  // Halves `half` .. half + kHalves - 1 of a strip. The first tile of a strip fetches it for all of them.
  template <int kHalves, int kRows>
  static void run(const MatmulArgs& args, int strip, int half, int row) {
    const int blocks = (args.k + kBlockCols - 1) / kBlockCols;
    Rows x(args.quantized, row, x_groups(args));
    const std::byte* block = Block::first(args, strip);
    __m256 products[kHalves][kRows];
    for_each(products, [](__m256& product, int, int) { product = _mm256_setzero_ps(); });
    for (int b = 0; b < blocks; ++b, block += Block::kBlockBytes) {
      if (half == 0 && row == 0) Block::prefetch(block + kPrefetchBytes);
      for (int g = 0; g < kGroupsPerBlock; ++g, x.next_group()) {
        add_group(block + Block::kHeaderBytes + g * Block::kGroupBytes + half * 32,
                  block + g * Block::kScaleBytes + half * Block::kScaleBytes / 2, x, products);
      }
    }
    for_each(products,
             [&](__m256 product, int h, int r) { store_result(args, strip, half + h, row + r, product); });
  }
};

template <MatrixLayout kLayout>
struct DenseTile {
  static constexpr int kElementBytes = kLayout == MatrixLayout::kF32 ? 4 : 2;

  // 8 lanes, of which those past the strip's width hold what comes next in memory: they are never stored.
  static __m256 load_line(const std::byte* line) {
    if constexpr (kLayout == MatrixLayout::kF32) {
      return load_eight(reinterpret_cast<const float*>(line));
    } else if constexpr (kLayout == MatrixLayout::kF16) {
      return load_eight_f16(line);
    } else {
      return load_eight_bf16(line);
    }
  }

  template <int kHalves, int kRows>
  static void run(const MatmulArgs& args, int strip, int half, int row) {
    const int64_t line_bytes = int64_t{width_of(args, strip)} * kElementBytes;
    const std::byte* weights =
        strip_at(args, strip) + args.k_begin * line_bytes + half * kHalfRows * kElementBytes;
    const float* x = args.x + int64_t{row} * args.x_cols;
    __m256 chains[kHalves][kRows][kChains];
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int c = 0; c < kChains; ++c) chains[h][r][c] = _mm256_setzero_ps();
      }
    }
    int k = 0;
    for (; k + kChains <= args.k; k += kChains, weights += kChains * line_bytes) {
#pragma GCC unroll 4
      for (int c = 0; c < kChains; ++c) add_line(weights + c * line_bytes, x + k + c, args.x_cols, c, chains);
    }
#pragma GCC unroll 4
    for (int c = 0; c < kChains; ++c) {
      if (k + c < args.k) add_line(weights + c * line_bytes, x + k + c, args.x_cols, c, chains);
    }
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const __m256(&chain)[kChains] = chains[h][r];
        const __m256 product =
            _mm256_add_ps(_mm256_add_ps(chain[0], chain[1]), _mm256_add_ps(chain[2], chain[3]));
        store_result(args, strip, half + h, row + r, product);
      }
    }
  }

 private:
  // One column of the strip times that of each row, into the chain it belongs to.
  template <int kHalves, int kRows>
  static void add_line(const std::byte* line, const float* x, int64_t x_stride, int chain,
                       __m256 (&chains)[kHalves][kRows][kChains]) {
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) {
      const __m256 weights = load_line(line + h * kHalfRows * kElementBytes);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        __m256& sum = chains[h][r][chain];
        sum = _mm256_fmadd_ps(weights, _mm256_set1_ps(x[r * x_stride]), sum);
      }
    }
  }
};

// The dot products of a group of kQ8Short, with the weights as stored, unsigned.
template <int kRows>
void dot_short(const ShortGroup& group, const int8_t (*u)[kMaxRank], int column, __m256i (&dots)[2][kRows]) {
  for_each(dots, [](__m256i& dot, int, int) { dot = _mm256_setzero_si256(); });
#pragma GCC unroll 2
  for (int plane = 0; plane < kBytePlanes; ++plane) {
    __m256i sums[2][kRows];
    for_each(sums, [&](__m256i& sum, int h, int r) { sum = begin_plane(dots[h][r]); });
    for (int line = 0; line < group.lines; ++line) {
      for_each(sums, [&](__m256i& sum, int h, int r) {
        const __m256i weights = plane_of(load_bytes(group.weights + line * 64 + h * 32), plane);
        sum = add_quads(sum, weights, broadcast4(u[r] + column + 4 * line));
      });
    }
    for_each(dots, [&](__m256i& dot, int h, int r) { dot = end_plane(dot, sums[h][r], plane); });
  }
}

// See expand-inl.h.
template <int kRows>
void expand_strip(const MatmulArgs& args, const ShrunkRows& u, int strip, int row, int first) {
  __m256 products[2][kRows];
  for_each(products, [](__m256& product, int, int) { product = _mm256_setzero_ps(); });
  for (int g = 0; g * kGroupCols < args.k; ++g) {
    const ShortGroup group(strip_at(args, strip), g, args.k);
    __m256i dots[2][kRows];
    dot_short(group, u.quants + first, g * kGroupCols, dots);
    for_each(products, [&](__m256& product, int h, int r) {
      const __m256i start = broadcast_eight(u.starts[first + r][g] * (1 << kQ8StartShift));
      const __m256 scales = load_eight_f16(group.scales + h * kStripRows);
      const __m256 dot = _mm256_cvtepi32_ps(_mm256_add_epi32(dots[h][r], start));
      product = _mm256_fmadd_ps(dot, _mm256_mul_ps(scales, broadcast_eight(u.scales[first + r][g])), product);
    });
  }
  for_each(products, [&](__m256 product, int h, int r) { store_result(args, strip, h, row + r, product); });
}

// One tile of `rows` rows, at most kRows.
template <typename Tile, int kHalves, int kRows>
void run_tile(const MatmulArgs& args, int strip, int row, int rows) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return run_tile<Tile, kHalves, kRows - 1>(args, strip, row, rows);
  }
  for (int half = 0; half < 2; half += kHalves) Tile::template run<kHalves, kRows>(args, strip, half, row);
}

template <typename Tile, int kHalves, int kRows>
void run_rows(const MatmulArgs& args) {
  for (int strip = 0; strip < args.strip_count; ++strip) {
    for (int row = 0; row < args.rows; row += kRows) {
      run_tile<Tile, kHalves, kRows>(args, strip, row, args.rows - row);
    }
  }
}

template <typename Tile>
void matmul_strips(const MatmulArgs& args) {
  if (args.rows <= kDecodeRows) return run_rows<Tile, 2, kDecodeRows>(args);
  run_rows<Tile, 1, kTileRows>(args);
}

template <bool kQ8, bool kHasMin>
void matmul_quantized(const MatmulArgs& args) {
  if (args.quantized.rest == nullptr) return matmul_strips<QuantizedTile<kQ8, kHasMin, false>>(args);
  matmul_strips<QuantizedTile<kQ8, kHasMin, true>>(args);
}

template <MatrixLayout kLayout>
void matmul_dense(const MatmulArgs& args) {
  if (args.rows == 1) return run_rows<DenseTile<kLayout>, 2, 1>(args);
  run_rows<DenseTile<kLayout>, 1, kDenseRows>(args);
}

}  // namespace
}  // namespace chorus
