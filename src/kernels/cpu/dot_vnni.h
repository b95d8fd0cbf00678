#pragma once

#include "kernels/cpu/simd_avx512.h"

namespace chorus {
namespace {

// Each dword of sum plus its four products of unsigned weights and signed activations. dot4: weights < 16.
Ints dot4(Ints sum, Bytes weights, Bytes x) { return _mm512_dpbusd_epi32(sum, weights, x); }
Ints dot8(Ints sum, Bytes weights, Bytes x) { return _mm512_dpbusd_epi32(sum, weights, x); }

}  // namespace
}  // namespace chorus
