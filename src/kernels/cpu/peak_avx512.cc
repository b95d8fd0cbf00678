#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/peak_units.h"

namespace chorus {
namespace {

using Vector = __m512i;
Vector zero() { return _mm512_setzero_si512(); }
Vector bytes(int8_t value) { return _mm512_set1_epi8(value); }
Vector dot(Vector sum, Vector x, Vector y) {
  return _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(x, y), _mm512_set1_epi16(1)));
}

}  // namespace
}  // namespace chorus

#include "kernels/cpu/peak-inl.h"

namespace chorus {

constinit const MultiplyUnit kAvx512Unit = {"avx512 maddubs", kOperations, multiply};

}  // namespace chorus
