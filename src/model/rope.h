#pragma once

#include <span>

#include "model/config.h"

namespace chorus {

// inv_freq[i] = base^(-2 i / head_dim), i < head_dim / 2 (RoFormer, arXiv:2104.09864).
RopeConfig plain_rope(int head_dim, double base);

// Positions scaled down by `factor` ("linear" scaling).
RopeConfig linear_rope(int head_dim, double base, double factor);

// Llama 3.1's scaling: long wavelengths divided by `factor`, short ones kept, those between interpolated.
struct Llama3Scaling {
  double factor, low_freq_factor, high_freq_factor, original_context;
};
RopeConfig llama3_rope(int head_dim, double base, const Llama3Scaling& scaling);

// GGUF's form of the same: inv_freq[i] divided by factors[i].
RopeConfig divided_rope(int head_dim, double base, std::span<const float> factors);

}  // namespace chorus
