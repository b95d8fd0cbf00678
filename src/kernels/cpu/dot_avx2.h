#pragma once

#include "kernels/cpu/simd_avx2.h"

namespace chorus {
namespace {

// How 8 lanes of a group's dot products are summed. Products of weights < 16 are added in 16 bits: a group
// has eight pairs in each, at most 8 * 2 * 15 * 127 = 30480 in all. A weight of 8 bits goes in two planes,
// its low nibble and its high one.
constexpr int kBytePlanes = 2;

__m256i plane_of(__m256i weights, int plane) {
  return plane == 0 ? low_nibbles(weights) : high_nibbles(weights);
}

// Where a plane's sum starts, when `dots` is the sum of those before.
__m256i begin_plane(__m256i) { return _mm256_setzero_si256(); }
__m256i add_quads(__m256i sum, __m256i weights, __m256i x) {
  sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(weights, x));
  asm("" : "+x"(sum));  // here, not after all products of the group: those would not stay in registers
  return sum;
}
__m256i end_plane(__m256i dots, __m256i sum, int plane) {
  return _mm256_add_epi32(dots, _mm256_madd_epi16(sum, _mm256_set1_epi16(plane == 0 ? 1 : 16)));
}

}  // namespace
}  // namespace chorus
