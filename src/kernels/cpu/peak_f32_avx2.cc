#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/peak_units.h"

namespace chorus {
namespace {

using Vector = __m256;
Vector zero() { return _mm256_setzero_ps(); }
Vector bytes(int8_t value) { return _mm256_set1_ps(value); }
Vector dot(Vector sum, Vector x, Vector y) { return _mm256_fmadd_ps(x, y, sum); }

}  // namespace
}  // namespace chorus

#include "kernels/cpu/peak-inl.h"

namespace chorus {

constinit const MultiplyUnit kAvx2F32Unit = {"avx2 fma", kOperations / 4, multiply};

}  // namespace chorus
