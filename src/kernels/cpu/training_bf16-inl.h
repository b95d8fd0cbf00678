#pragma once

// BaseProduct in bf16 for AVX-512 BF16; included after simd_avx512.h and training_tile-inl.h. Outputs n go in
// pairs, which is what one lane of a dot product takes:
//   packed dy  [ceil(n / 32)][16 rows][32 outputs]
//   a tile     [units of 16 columns][outputs / 2][16 columns][2 outputs], outputs rounded up to 32
// so that 32 outputs of 16 rows or of a unit are a whole AMX tile. What is padded is zero.

#include "kernels/cpu/training_tile-inl.h"

namespace chorus {
namespace {

constexpr int kPairs = kStripRows / 2;       // of outputs, in a strip
constexpr int kTileBytes = kStripRows * 64;  // of 32 outputs

using Pairs = __m512bh;

__m512i as_ints(Pairs x) { return reinterpret_cast<__m512i>(x); }
Pairs load_pairs_of(const void* p) { return reinterpret_cast<Pairs>(_mm512_loadu_si512(p)); }
// The words of `low`, then those of `high`.
__m512i to_bf16(Floats low, Floats high) { return as_ints(_mm512_cvtne2ps_pbh(high, low)); }

void pack_bf16(const float* dy, int64_t dy_stride, int rows, int n, std::byte* packed) {
  for (int from = 0; from < n; from += kPackedOutputs, packed += kTileBytes) {
    const int first = lanes_left(n - from), second = n - from > kLanes ? lanes_left(n - from - kLanes) : 0;
    for (int r = 0; r < kStripRows; ++r) {
      const float* row = dy + r * dy_stride + from;
      const bool real = r < rows;
      const Floats low = real ? load_n(row, first) : broadcast(0);
      const Floats high = real && second > 0 ? load_n(row + kLanes, second) : broadcast(0);
      _mm512_storeu_si512(packed + r * 64, to_bf16(low, high));
    }
  }
}

// Words a0 .. a15 b0 .. b15 -> a0 b0 a1 b1 ..
__m512i interleave(__m512i halves) {
  const __m512i low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(halves));
  const __m512i high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(halves, 1));
  return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

// Of a strip and one unit: line p of `out` has the pair p of outputs; those past `rows` are zero.
void unpack_pairs(const WeightTile& w, const std::byte* strip, int rows, int column, int columns,
                  std::byte* out) {
  Floats x[kUnit];
  unpack_unit(w, strip, rows, column, columns, x);
  for (int p = 0; p < kPairs; ++p) {
    const Floats low = 2 * p < rows ? x[2 * p] : broadcast(0);
    const Floats high = 2 * p + 1 < rows ? x[2 * p + 1] : broadcast(0);
    _mm512_storeu_si512(out + p * 64, interleave(to_bf16(low, high)));
  }
}

// A group of 32 columns of a kQ4 strip: its units 0 and 1, to `low` and `high`, either of which may be null.
// A quant has 16 values: a pair's 32 make a table, and the quants are its indices.
template <bool kHasMin>
void unpack_q4_pairs(const std::byte* block, int group, std::byte* low, std::byte* high) {
  using Block = QuantizedBlock<false, kHasMin>;
  const std::byte* lines = block + Block::kHeaderBytes + group * Block::kGroupBytes;
  // In each 128-bit lane, of 4 rows times 4 columns: two pairs of rows, column by column.
  const __m512i by_pair =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15));
  __m512i line[4];
#pragma GCC unroll 4
  for (int l = 0; l < 4; ++l) line[l] = _mm512_shuffle_epi8(load_bytes(lines + l * 64), by_pair);
  // 16 bytes a pair: columns 0..7 and 8..15; even pairs and odd ones.
  const __m512i even[2] = {_mm512_unpacklo_epi64(line[0], line[1]), _mm512_unpacklo_epi64(line[2], line[3])};
  const __m512i odd[2] = {_mm512_unpackhi_epi64(line[0], line[1]), _mm512_unpackhi_epi64(line[2], line[3])};
  const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
  const __m512i last = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  const __m512i quants[4] = {
      // pairs 0 and 2, 4 and 6, 1 and 3, 5 and 7
      _mm512_permutex2var_epi64(even[0], first, even[1]), _mm512_permutex2var_epi64(even[0], last, even[1]),
      _mm512_permutex2var_epi64(odd[0], first, odd[1]), _mm512_permutex2var_epi64(odd[0], last, odd[1])};

  const GroupScales scales = group_scales<false, kHasMin>(block, group);
  alignas(64) float scale[kStripRows], min[kStripRows];
  store(scale, scales.scale);
  store(min, scales.min);
  const Floats values = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i mask = _mm512_set1_epi8(15), second = _mm512_set1_epi16(0x1000);  // the table's other half
#pragma GCC unroll 8
  for (int p = 0; p < kPairs; ++p) {
    const Floats a = fma(values, broadcast(scale[2 * p]), broadcast(min[2 * p]));
    const Floats b = fma(values, broadcast(scale[2 * p + 1]), broadcast(min[2 * p + 1]));
    const __m512i table = to_bf16(a, b);
    const __m512i both = quants[p % 2 * 2 + p / 4];
    const auto put = [&](__m512i nibbles, std::byte* out) {
      const __m512i index = _mm512_or_si512(_mm512_and_si512(nibbles, mask), second);
      const __m256i half =
          p / 2 % 2 == 0 ? _mm512_castsi512_si256(index) : _mm512_extracti64x4_epi64(index, 1);
      _mm512_storeu_si512(out + p * 64, _mm512_permutexvar_epi16(_mm512_cvtepu8_epi16(half), table));
    };
    if (low != nullptr) put(both, low);
    if (high != nullptr) put(_mm512_srli_epi16(both, 4), high);
  }
}

// One unit of a kQ8 strip.
void unpack_q8_pairs(const std::byte* strip, int column, std::byte* out) {
  using Block = QuantizedBlock<true, false>;
  const std::byte* block = strip + column / kBlockCols * Block::kBlockBytes;
  const int group = column % kBlockCols / kGroupCols;
  const std::byte* lines = block + Block::kHeaderBytes + column % kBlockCols / kUnit * 256;
  const __m512i line[4] = {load_bytes(lines), load_bytes(lines + 64), load_bytes(lines + 128),
                           load_bytes(lines + 192)};
  // Dwords of 4 columns: 128 bits a row, of its 16 columns. Lane i of rows[j] is of row 4 i + j.
  const __m512i low[2] = {_mm512_unpacklo_epi32(line[0], line[1]), _mm512_unpacklo_epi32(line[2], line[3])};
  const __m512i high[2] = {_mm512_unpackhi_epi32(line[0], line[1]), _mm512_unpackhi_epi32(line[2], line[3])};
  const __m512i rows[4] = {_mm512_unpacklo_epi64(low[0], low[1]), _mm512_unpackhi_epi64(low[0], low[1]),
                           _mm512_unpacklo_epi64(high[0], high[1]), _mm512_unpackhi_epi64(high[0], high[1])};
  alignas(64) __m128i bytes[4][4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) _mm512_store_si512(bytes[j], rows[j]);
  const GroupScales scales = group_scales<true, false>(block, group);
  alignas(64) float scale[kStripRows], min[kStripRows];
  store(scale, scales.scale);
  store(min, scales.min);
  const auto weights = [&](int row) {
    const Floats quants = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes[row % 4][row / 4]));
    return fma(quants, broadcast(scale[row]), broadcast(min[row]));
  };
#pragma GCC unroll 8
  for (int p = 0; p < kPairs; ++p) {
    _mm512_storeu_si512(out + p * 64, interleave(to_bf16(weights(2 * p), weights(2 * p + 1))));
  }
}

template <bool kHasMin>
void unpack_q4_strip(const std::byte* strip, int column, int columns, int64_t unit_bytes, std::byte* out) {
  using Block = QuantizedBlock<false, kHasMin>;
  const int end = column + columns;
  for (int c = column / kGroupCols * kGroupCols; c < end; c += kGroupCols) {
    std::byte* low = c < column ? nullptr : out + (c - column) / kUnit * unit_bytes;
    std::byte* high = c + kUnit >= end ? nullptr : out + (c + kUnit - column) / kUnit * unit_bytes;
    unpack_q4_pairs<kHasMin>(strip + c / kBlockCols * Block::kBlockBytes, c % kBlockCols / kGroupCols, low,
                             high);
  }
}

void unpack_bf16_strip(const WeightTile& w, int row, int64_t unit_bytes, std::byte* out) {
  const std::byte* strip = strip_of(w, row);
  if (w.layout == MatrixLayout::kQ4) {
    return w.has_min ? unpack_q4_strip<true>(strip, w.column, w.columns, unit_bytes, out)
                     : unpack_q4_strip<false>(strip, w.column, w.columns, unit_bytes, out);
  }
  for (int c = 0; c < w.columns; c += kUnit, out += unit_bytes) {
    if (w.layout == MatrixLayout::kQ8) {
      unpack_q8_pairs(strip, w.column + c, out);
    } else {
      unpack_pairs(w, strip, width_of(w, row), w.column + c, w.columns - c, out);
    }
  }
}

int whole_tiles(int count) { return (count + kPackedOutputs - 1) / kPackedOutputs; }
// Of a unit's part of a tile.
int64_t unit_bytes_of(int count) { return int64_t{whole_tiles(count)} * kTileBytes; }

void unpack_bf16(const WeightTile& w, std::byte* tile) {
  const int64_t unit_bytes = unit_bytes_of(w.count);
  const int padded = whole_tiles(w.count) * kPackedOutputs;
  for (int row = 0; row < padded; row += kStripRows, tile += kPairs * 64) {
    if (row < w.count) {
      unpack_bf16_strip(w, row, unit_bytes, tile);
      continue;
    }
    for (int unit = 0; unit * kUnit < w.columns; ++unit) {
      for (int p = 0; p < kPairs; ++p) {
        _mm512_storeu_si512(tile + unit * unit_bytes + p * 64, _mm512_setzero_si512());
      }
    }
  }
}

// What a kernel's sums are added to: kRows rows of one vector each from dx[row] on.
void add_to_dx(const BaseProduct::Args& args, int row, int column, Floats sum) {
  float* dx = args.dx + row * args.dx_stride + column;
  const int lanes = lanes_left(args.columns - column);
  store_n(dx, args.add ? chorus::add(load_n(dx, lanes), sum) : sum, lanes);
}

const std::byte* packed_rows(const BaseProduct::Args& args, int row) {
  return args.packed + row / kStripRows * args.block_bytes + args.n / kPackedOutputs * kTileBytes;
}

constexpr int kDotRows = 8;  // divides 16
constexpr int kDotUnits = 3;

template <int kUnits>
void dot_tile(const BaseProduct::Args& args, int row, int column) {
  const int64_t unit_bytes = unit_bytes_of(args.count);
  const std::byte* a = packed_rows(args, row) + row % kStripRows * 64;
  const std::byte* b = args.tile + column / kUnit * unit_bytes;
  Floats sums[kDotRows][kUnits];
#pragma GCC unroll 8
  for (int r = 0; r < kDotRows; ++r) {
#pragma GCC unroll 3
    for (int u = 0; u < kUnits; ++u) sums[r][u] = broadcast(0);
  }
  for (int n = 0; n < args.count; n += kPackedOutputs, a += kTileBytes) {
    for (int pair = 0; pair < 16; ++pair, b += 64) {
      Pairs w[kUnits];
#pragma GCC unroll 3
      for (int u = 0; u < kUnits; ++u) w[u] = load_pairs_of(b + u * unit_bytes);
#pragma GCC unroll 8
      for (int r = 0; r < kDotRows; ++r) {
        const auto dy =
            reinterpret_cast<Pairs>(broadcast4(reinterpret_cast<const int8_t*>(a + r * 64 + pair * 4)));
#pragma GCC unroll 3
        for (int u = 0; u < kUnits; ++u) sums[r][u] = _mm512_dpbf16_ps(sums[r][u], w[u], dy);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kDotRows; ++r) {
    if (row + r >= args.rows) return;
#pragma GCC unroll 3
    for (int u = 0; u < kUnits; ++u) add_to_dx(args, row + r, column + u * kUnit, sums[r][u]);
  }
}

template <int kUnits>
void dot_units(const BaseProduct::Args& args, int units, int column) {
  if constexpr (kUnits > 1) {
    if (units < kUnits) return dot_units<kUnits - 1>(args, units, column);
  }
  for (int row = 0; row < args.rows; row += kDotRows) dot_tile<kUnits>(args, row, column);
}

void multiply_bf16(const BaseProduct::Args& args) {
  const int units = (args.columns + kUnit - 1) / kUnit, groups = (units + kDotUnits - 1) / kDotUnits;
  for (int g = 0; g < groups; ++g) {
    const int begin = units * g / groups, end = units * (g + 1) / groups;
    dot_units<kDotUnits>(args, end - begin, begin * kUnit);
  }
}

constexpr BaseProduct kBf16Base = {
    .piece = 512, .columns = 512, .pack = pack_bf16, .unpack = unpack_bf16, .multiply = multiply_bf16};
static_assert(kBf16Base.piece * kBf16Base.columns * 2 <= int64_t{kTrainingTileBytes});

}  // namespace
}  // namespace chorus
