#pragma once

// Products of bf16 weights by AVX512_BF16, which adds two columns to each lane at once. x is the sum of two
// bf16, within 2^-18 of itself; one alone would be within 2^-9.
//
// Every output element is the same sequence of operations whatever tile it is computed in: four chains, of
// the pairs' first and second term, of even pairs and of odd ones, added as (0 + 1) + (2 + 3).

#include "kernels/cpu/bf16_terms.h"
#include "kernels/cpu/linear-inl.h"

namespace chorus {
namespace {

struct Bf16Tile {
  static constexpr int kTerms = 2;
  static_assert(2 * kTerms == kChains);

  template <int kStrips, int kRows>
  static void run(const MatmulArgs& args, int strip, int row) {
    static_assert(kStrips == 1);
    const int width = width_of(args, strip);
    const std::byte* weights = strip_at(args, strip) + int64_t{args.k_begin} * width * 2;
    const float* x = args.x + int64_t{row} * args.x_cols;
    Floats chains[kRows][kChains];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < kChains; ++c) chains[r][c] = broadcast(0);
    }
    for (int k = 0; k < args.k; k += kTermCols) {
      alignas(64) int32_t terms[kRows][kTerms][kTermCols / 2];
      for (int r = 0; r < kRows; ++r) {
        __m512i split[kTerms];
        split_columns(x + int64_t{r} * args.x_cols + k, args.k - k, split);
        for (int t = 0; t < kTerms; ++t) _mm512_store_si512(terms[r][t], split[t]);
      }
      for (int i = 0; i < kTermCols && k + i < args.k; i += 4) {
#pragma GCC unroll 2
        for (int odd = 0; odd < 2; ++odd) {
          const int column = k + i + 2 * odd;
          if (column >= args.k) break;
          const __m512i pairs = load_pairs(weights + int64_t{column} * width * 2, width, args.k - column);
          add_pairs(pairs, terms, i / 2 + odd, odd, chains);
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Floats product =
          chorus::add(chorus::add(chains[r][0], chains[r][1]), chorus::add(chains[r][2], chains[r][3]));
      store_result(args, strip, row + r, product);
    }
  }

 private:
  template <int kRows>
  static void add_pairs(__m512i pairs, const int32_t (&terms)[kRows][kTerms][kTermCols / 2], int at, int odd,
                        Floats (&chains)[kRows][kChains]) {
#pragma GCC unroll 2
    for (int t = 0; t < kTerms; ++t) {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        Floats& chain = chains[r][2 * odd + t];
        chain = _mm512_dpbf16_ps(chain, (__m512bh)pairs, (__m512bh)_mm512_set1_epi32(terms[r][t][at]));
      }
    }
  }
};

void matmul_or_bf16(const MatmulArgs& args) {
  if (args.layout != MatrixLayout::kBF16) return matmul(args);
  for (int strip = 0; strip < args.strip_count; ++strip) run_rows<Bf16Tile, 1, kDenseRows>(args, strip);
}

}  // namespace
}  // namespace chorus
