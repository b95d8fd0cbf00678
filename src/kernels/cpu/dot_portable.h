#pragma once

#include "kernels/cpu/simd_portable.h"

namespace chorus {
namespace {

// Each dword of sum plus its four products of unsigned weights and signed activations.
Ints dot8(Ints sum, Bytes weights, Bytes x) {
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 4; ++j) {
      sum.lanes[i] += weights.lanes[4 * i + j] * static_cast<int8_t>(x.lanes[4 * i + j]);
    }
  }
  return sum;
}
Ints dot4(Ints sum, Bytes weights, Bytes x) { return dot8(sum, weights, x); }

}  // namespace
}  // namespace chorus
