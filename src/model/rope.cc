#include "model/rope.h"

#include <cmath>
#include <numbers>

namespace chorus {

// In f32, as transformers computes them: at position 8,000 a difference in the last bit would already show.
RopeConfig plain_rope(int head_dim, double base) {
  RopeConfig rope;
  for (int i = 0; i < head_dim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    rope.inv_freq.push_back(1.0f / std::pow(static_cast<float>(base), exponent));
  }
  return rope;
}

RopeConfig linear_rope(int head_dim, double base, double factor) {
  RopeConfig rope = plain_rope(head_dim, base);
  for (float& f : rope.inv_freq) f /= static_cast<float>(factor);
  return rope;
}

RopeConfig llama3_rope(int head_dim, double base, const Llama3Scaling& s) {
  RopeConfig rope = plain_rope(head_dim, base);
  for (float& f : rope.inv_freq) {
    const double wavelength = 2 * std::numbers::pi / f;
    if (wavelength < s.original_context / s.high_freq_factor) continue;
    const double slow = f / s.factor;
    if (wavelength > s.original_context / s.low_freq_factor) {
      f = static_cast<float>(slow);
      continue;
    }
    const double smooth =
        (s.original_context / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
    f = static_cast<float>((1 - smooth) * slow + smooth * f);
  }
  return rope;
}

RopeConfig divided_rope(int head_dim, double base, std::span<const float> factors) {
  RopeConfig rope = plain_rope(head_dim, base);
  for (size_t i = 0; i < rope.inv_freq.size(); ++i) rope.inv_freq[i] /= factors[i];
  return rope;
}

}  // namespace chorus
