#pragma once

#include "kernels/cpu/simd_avx512.h"

namespace chorus {
namespace {

// Each dword of sum plus its four products of unsigned weights and signed activations. dot4: weights < 16, so
// that a pair of products fits 16 bits.
Ints dot4(Ints sum, Bytes weights, Bytes x) {
  const __m512i pairs = _mm512_maddubs_epi16(weights, x);
  return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}

// Two weights up to 255 would saturate maddubs: products of the even and of the odd bytes apart.
Ints dot8(Ints sum, Bytes weights, Bytes x) {
  const __m512i even = _mm512_and_si512(weights, _mm512_set1_epi16(255));
  const __m512i odd = _mm512_srli_epi16(weights, 8);
  const __m512i x_even = _mm512_srai_epi16(_mm512_slli_epi16(x, 8), 8);
  const __m512i x_odd = _mm512_srai_epi16(x, 8);
  return _mm512_add_epi32(sum,
                          _mm512_add_epi32(_mm512_madd_epi16(even, x_even), _mm512_madd_epi16(odd, x_odd)));
}

}  // namespace
}  // namespace chorus
