#pragma once

#include "kernels/cpu/simd_avx2.h"

namespace chorus {
namespace {

// Each dword of sum plus its four products of unsigned weights and signed activations. dot4: weights < 16, so
// that a pair of products fits 16 bits.
__m256i dot4(__m256i sum, __m256i weights, __m256i x) {
  const __m256i pairs = _mm256_maddubs_epi16(weights, x);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
// Two weights up to 255 would saturate maddubs: products of the even and of the odd bytes apart.
__m256i dot8(__m256i sum, __m256i weights, __m256i x) {
  const __m256i even = _mm256_and_si256(weights, _mm256_set1_epi16(255));
  const __m256i odd = _mm256_srli_epi16(weights, 8);
  const __m256i x_even = _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8);
  const __m256i x_odd = _mm256_srai_epi16(x, 8);
  const __m256i products = _mm256_add_epi32(_mm256_madd_epi16(even, x_even), _mm256_madd_epi16(odd, x_odd));
  return _mm256_add_epi32(sum, products);
}
Ints dot4(Ints sum, Bytes weights, Bytes x) {
  return {dot4(sum.low, weights.low, x.low), dot4(sum.high, weights.high, x.high)};
}
Ints dot8(Ints sum, Bytes weights, Bytes x) {
  return {dot8(sum.low, weights.low, x.low), dot8(sum.high, weights.high, x.high)};
}

}  // namespace
}  // namespace chorus
