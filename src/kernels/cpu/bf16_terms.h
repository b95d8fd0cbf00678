#pragma once

// What AVX512_BF16 adds to simd_avx512.h: f32 as sums of bf16, and bf16 weights in pairs of columns. Its
// units take numbers below 2^-126 for 0.

#include "kernels/cpu/simd_avx512.h"

namespace chorus {
namespace {

constexpr int kTermCols = 32;

__m512i to_bf16(Floats x) { return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x)); }

// x ~ terms[0] + terms[1] + .., each a dword of two columns. Every term halves the distance 9 times, and what
// one leaves is exact; columns from `cols` on are 0.
template <int kTerms>
void split_columns(const float* x, int cols, __m512i (&terms)[kTerms]) {
  const __m512i evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odds = _mm512_add_epi32(evens, _mm512_set1_epi32(1));
  const Floats low = load_n(x, cols < 16 ? cols : 16);
  const Floats high = cols > 16 ? load_n(x + 16, cols < 32 ? cols - 16 : 16) : broadcast(0);
  Floats even = _mm512_permutex2var_ps(low, evens, high), odd = _mm512_permutex2var_ps(low, odds, high);
#pragma GCC unroll 3
  for (int t = 0; t < kTerms; ++t) {
    const __m512i first = _mm512_slli_epi32(to_bf16(even), 16), second = _mm512_slli_epi32(to_bf16(odd), 16);
    terms[t] = _mm512_or_si512(_mm512_srli_epi32(first, 16), second);
    even = sub(even, _mm512_castsi512_ps(first));
    odd = sub(odd, _mm512_castsi512_ps(second));
  }
}

// The first two of a strip's next columns as a dword for each row; the second is 0 where `columns` is 1.
__m512i load_pairs(const std::byte* strip, int width, int columns) {
  if (width == 16 && columns > 1) {
    const __m512i halves = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23,
                                            7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(halves, _mm512_loadu_si512(strip));
  }
  const auto load_line = [](const std::byte* line) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(line)));
  };
  const __m512i first = load_line(strip);
  if (columns == 1) return first;
  return _mm512_or_si512(first, _mm512_slli_epi32(load_line(strip + int64_t{2} * width), 16));
}

}  // namespace
}  // namespace chorus
