#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/peak_units.h"

namespace chorus {
namespace {

using Vector = __m256i;
Vector zero() { return _mm256_setzero_si256(); }
Vector bytes(int8_t value) { return _mm256_set1_epi8(value); }
Vector dot(Vector sum, Vector x, Vector y) { return _mm256_dpbusd_avx_epi32(sum, x, y); }

}  // namespace
}  // namespace chorus

#include "kernels/cpu/peak-inl.h"

namespace chorus {

constinit const MultiplyUnit kAvxVnniUnit = {"avx vpdpbusd", kOperations, multiply};

}  // namespace chorus
