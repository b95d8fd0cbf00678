#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/peak_units.h"

namespace chorus {
namespace {

using Vector = __m512;
Vector zero() { return _mm512_setzero_ps(); }
Vector bytes(int8_t value) { return _mm512_set1_ps(value); }
Vector dot(Vector sum, Vector x, Vector y) { return _mm512_fmadd_ps(x, y, sum); }

}  // namespace
}  // namespace chorus

#include "kernels/cpu/peak-inl.h"

namespace chorus {

constinit const MultiplyUnit kAvx512F32Unit = {"avx512 fma", kOperations / 4, multiply};

}  // namespace chorus
