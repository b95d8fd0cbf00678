#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/peak_units.h"

namespace chorus {
namespace {

using Vector = __m256i;
Vector zero() { return _mm256_setzero_si256(); }
Vector bytes(int8_t value) { return _mm256_set1_epi8(value); }
// Sums of 16 bits: products of 4-bit weights are widened only once in a while.
Vector dot(Vector sum, Vector x, Vector y) { return _mm256_add_epi16(sum, _mm256_maddubs_epi16(x, y)); }

}  // namespace
}  // namespace chorus

#include "kernels/cpu/peak-inl.h"

namespace chorus {

constinit const MultiplyUnit kAvx2Unit = {"avx2 maddubs", kOperations, multiply};

}  // namespace chorus
