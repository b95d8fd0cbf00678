#pragma once

#include "kernels/cpu/simd_portable.h"

namespace chorus {
namespace {

using Words = int16_t __attribute__((vector_size(64)));

// Each dword of sum plus its four products of unsigned weights and signed activations: the even and the odd
// bytes multiplied as words, which hold 255 * 127, then the two words of each dword added.
Ints dot8(Ints sum, Bytes weights, Bytes x) {
  const Words w = (Words)weights, q = (Words)x;
  const Ints even = (Ints)((w & 0xFF) * ((q << 8) >> 8));
  const Ints odd = (Ints)((w >> 8 & 0xFF) * (q >> 8));
  return sum + ((even << 16) >> 16) + (even >> 16) + ((odd << 16) >> 16) + (odd >> 16);
}
Ints dot4(Ints sum, Bytes weights, Bytes x) { return dot8(sum, weights, x); }

}  // namespace
}  // namespace chorus
