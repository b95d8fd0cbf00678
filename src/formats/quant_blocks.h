#pragma once

// GGML's block formats as bytes <-> floats, scalar and exact: the truth that packed layouts are tested
// against. Layouts: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/dtype.h"

namespace chorus {

// out[i] = element i of `data`, which holds out.size() elements of `type`, a multiple of its block.
void dequantize(DType type, std::span<const std::byte> data, std::span<float> out);

// Quantizes values.size() floats (a multiple of the block) into out, dtype's bytes exactly. Rounds as GGML's
// reference quantizers do for Q4_0, Q4_1, Q5_0, Q8_0 (same bytes); F16 and BF16 round to nearest even.
// Q4_K and Q6_K minimise the weighted squared error per block. Error: input that is not finite, or so large
// that the type (or its F16 scale) would make it infinite.
void quantize(DType type, std::span<const float> values, std::span<std::byte> out);

}  // namespace chorus
