#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/peak_units.h"

namespace chorus {
namespace {

using Vector = __m512;
Vector zero() { return _mm512_setzero_ps(); }
Vector bytes(int8_t value) { return _mm512_set1_ps(value); }
Vector dot(Vector sum, Vector x, Vector y) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(y));
}

}  // namespace
}  // namespace chorus

#include "kernels/cpu/peak-inl.h"

namespace chorus {

constinit const MultiplyUnit kAvx512Bf16Unit = {"avx512 vdpbf16ps", kOperations / 2, multiply};

}  // namespace chorus
