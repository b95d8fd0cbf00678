#pragma once

#include "kernels/cpu/simd_avx2.h"

namespace chorus {
namespace {

// How 8 lanes of a group's dot products are summed; see dot_avx2.h.
constexpr int kBytePlanes = 1;

__m256i plane_of(__m256i weights, int) { return weights; }
__m256i begin_plane(__m256i dots) { return dots; }
__m256i add_quads(__m256i sum, __m256i weights, __m256i x) {
  return _mm256_dpbusd_avx_epi32(sum, weights, x);
}
__m256i end_plane(__m256i, __m256i sum, int) { return sum; }

}  // namespace
}  // namespace chorus
