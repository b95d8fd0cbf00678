#pragma once

#include <cstddef>
#include <span>

namespace chorus {

// One super-block of 256 finite floats. Each returns false where the block's scale overflows F16.
bool quantize_q4_k(std::span<const float, 256> values, std::span<std::byte, 144> out);
bool quantize_q6_k(std::span<const float, 256> values, std::span<std::byte, 210> out);

}  // namespace chorus
