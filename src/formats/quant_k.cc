// Quantizers of the K formats: GGML's search (make_qkx2_quants and make_qx_quants in ggml-quants.c), with its
// sums in double, so that no finite float overflows them.

#include "formats/quant_k.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/dtype.h"

namespace chorus {
namespace {

constexpr int kSearchSteps = 20;

int nearest(double value, int low, int high) {
  return static_cast<int>(std::clamp(std::nearbyint(value), double(low), double(high)));
}

double inverse(double value) { return value != 0 ? 1 / value : 0; }

// Stores `value` as F16 and gives what a reader will see.
double store_f16(double value, std::byte* out) {
  const uint16_t half = f32_to_f16(static_cast<float>(value));
  std::memcpy(out, &half, sizeof half);
  return double{f16_to_f32(half)};
}

// x ~ scale * q - offset, with q in 0..15 and offset >= 0.
struct Affine {
  double scale, offset;
};

// The least squares fit, weighted, of scale and offset to the given steps; falls back to `fit` where the
// steps do not determine it.
Affine refit(std::span<const float, 32> x, std::span<const double, 32> weights, double low,
             double steps_per_unit, Affine fit) {
  double w_sum = 0, x_sum = 0, q_sum = 0, qq_sum = 0, qx_sum = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double q = nearest(steps_per_unit * (double{x[i]} - low), 0, 15);
    w_sum += weights[i];
    x_sum += weights[i] * double{x[i]};
    q_sum += weights[i] * q;
    qq_sum += weights[i] * q * q;
    qx_sum += weights[i] * q * double{x[i]};
  }
  const double determinant = w_sum * qq_sum - q_sum * q_sum;
  if (!(determinant > 0)) return fit;
  const double minimum = (qq_sum * x_sum - q_sum * qx_sum) / determinant;
  if (minimum > 0) return {qx_sum / qq_sum, 0};
  return {(w_sum * qx_sum - x_sum * q_sum) / determinant, -minimum};
}

double squared_error(std::span<const float, 32> x, std::span<const double, 32> weights, Affine fit) {
  double error = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const int q = nearest((double{x[i]} + fit.offset) * inverse(fit.scale), 0, 15);
    const double difference = fit.scale * q - fit.offset - double{x[i]};
    error += weights[i] * difference * difference;
  }
  return error;
}

Affine search_affine(std::span<const float, 32> x) {
  double square_sum = 0;
  for (const float value : x) square_sum += double{value} * double{value};
  const double typical = std::sqrt(square_sum / 32);
  std::array<double, 32> weights;
  for (size_t i = 0; i < x.size(); ++i) weights[i] = typical + std::abs(double{x[i]});

  const double low = std::min(0.0, double{*std::ranges::min_element(x)});
  const double range = double{*std::ranges::max_element(x)} - low;
  if (range <= 0) return {0, -low};
  Affine best{range / 15, -low};
  double best_error = squared_error(x, weights, best);
  for (int step = 0; step <= kSearchSteps; ++step) {
    const Affine candidate = refit(x, weights, low, (14 + 0.1 * step) / range, best);
    const double error = squared_error(x, weights, candidate);
    if (error < best_error) {
      best_error = error;
      best = candidate;
    }
  }
  return best;
}

// The 6-bit scales and offsets of eight sub-blocks in 12 bytes: the first four in the low bits of bytes 0-7,
// the rest split over bytes 8-11 and the high bits of 0-7.
void pack_scales(std::span<const int, 8> scales, std::span<const int, 8> offsets, std::byte* out) {
  std::array<unsigned, 12> packed{};
  for (size_t j = 0; j < 4; ++j) {
    const auto scale = static_cast<unsigned>(scales[j + 4]), offset = static_cast<unsigned>(offsets[j + 4]);
    packed[j] = static_cast<unsigned>(scales[j]) | (scale >> 4) << 6;
    packed[j + 4] = static_cast<unsigned>(offsets[j]) | (offset >> 4) << 6;
    packed[j + 8] = (scale & 15) | (offset & 15) << 4;
  }
  for (size_t i = 0; i < packed.size(); ++i) out[i] = static_cast<std::byte>(packed[i]);
}

// x ~ scale * q with q in -32..31: the scale of least error, weighted by x^2.
double search_symmetric(std::span<const float, 16> x) {
  const double extreme =
      double{*std::ranges::max_element(x, {}, [](float value) { return std::abs(value); })};
  if (extreme == 0) return 0;
  double best_scale = 0, best_gain = 0;
  for (int step = -9; step <= 9; ++step) {
    const double steps_per_unit = -(32 + 0.1 * step) / extreme;
    double qx_sum = 0, qq_sum = 0;
    for (const float value : x) {
      const double relative = double{value} / extreme;  // the weight's own scale does not matter
      const double q = nearest(steps_per_unit * double{value}, -32, 31);
      qx_sum += relative * relative * q * double{value};
      qq_sum += relative * relative * q * q;
    }
    if (qq_sum > 0 && qx_sum * qx_sum / qq_sum > best_gain) {
      best_gain = qx_sum * qx_sum / qq_sum;
      best_scale = qx_sum / qq_sum;
    }
  }
  return best_scale;
}

}  // namespace

bool quantize_q4_k(std::span<const float, 256> values, std::span<std::byte, 144> out) {
  std::array<Affine, 8> fits;
  double max_scale = 0, max_offset = 0;
  for (size_t j = 0; j < fits.size(); ++j) {
    fits[j] = search_affine(std::span<const float, 32>(values.data() + 32 * j, 32));
    max_scale = std::max(max_scale, fits[j].scale);
    max_offset = std::max(max_offset, fits[j].offset);
  }
  const double scale_unit = store_f16(max_scale / 63, out.data());
  const double offset_unit = store_f16(max_offset / 63, out.data() + 2);
  if (!std::isfinite(scale_unit) || !std::isfinite(offset_unit)) return false;
  std::array<int, 8> scales, offsets;
  for (size_t j = 0; j < fits.size(); ++j) {
    scales[j] = nearest(fits[j].scale * inverse(max_scale) * 63, 0, 63);
    offsets[j] = nearest(fits[j].offset * inverse(max_offset) * 63, 0, 63);
  }
  pack_scales(scales, offsets, out.data() + 4);
  std::array<unsigned, 256> steps;
  for (size_t i = 0; i < values.size(); ++i) {
    const double offset = offset_unit * offsets[i / 32];
    steps[i] = static_cast<unsigned>(
        nearest((double{values[i]} + offset) * inverse(scale_unit * scales[i / 32]), 0, 15));
  }
  for (size_t i = 0; i < 128; ++i) {
    const size_t low = i / 32 * 64 + i % 32;
    out[16 + i] = static_cast<std::byte>(steps[low] | steps[low + 32] << 4);
  }
  return true;
}

bool quantize_q6_k(std::span<const float, 256> values, std::span<std::byte, 210> out) {
  std::array<double, 16> fits;
  for (size_t j = 0; j < fits.size(); ++j)
    fits[j] = search_symmetric(std::span<const float, 16>(values.data() + 16 * j, 16));
  const double max_scale = *std::ranges::max_element(fits, {}, [](double scale) { return std::abs(scale); });
  const double unit = store_f16(-max_scale / 128, out.data() + 208);
  if (!std::isfinite(unit)) return false;
  std::array<unsigned, 256> steps;
  for (size_t j = 0; j < fits.size(); ++j) {
    const int scale = nearest(fits[j] * inverse(max_scale) * -128, -128, 127);
    out[192 + j] = static_cast<std::byte>(scale);
    for (size_t i = 16 * j; i < 16 * j + 16; ++i)
      steps[i] = static_cast<unsigned>(nearest(double{values[i]} * inverse(unit * scale), -32, 31) + 32);
  }
  for (size_t half = 0; half < 2; ++half) {
    const unsigned* q = steps.data() + 128 * half;
    for (size_t i = 0; i < 64; ++i)
      out[64 * half + i] = static_cast<std::byte>((q[i] & 15) | (q[i + 64] & 15) << 4);
    for (size_t i = 0; i < 32; ++i)
      out[128 + 32 * half + i] = static_cast<std::byte>(q[i] >> 4 | (q[i + 32] >> 4) << 2 |
                                                        (q[i + 64] >> 4) << 4 | (q[i + 96] >> 4) << 6);
  }
  return true;
}

}  // namespace chorus
