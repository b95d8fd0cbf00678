#include "engine/logit_blocks.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace chorus {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Four lanes, as GCC and Clang know vectors: one register on every 64-bit processor. Comparisons give -1 or
// 0.
using Floats = float __attribute__((vector_size(16)));
using Ints = int32_t __attribute__((vector_size(16)));
constexpr size_t kLanes = 4;

Floats load(const float* p) {
  Floats x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
void store(float* p, Floats x) { std::memcpy(p, &x, sizeof x); }

Floats larger(Floats a, Floats b) { return a > b ? a : b; }
float larger(float a, float b) { return a > b ? a : b; }
float largest(Floats x) { return larger(larger(x[0], x[2]), larger(x[1], x[3])); }
float sum_of(Floats x) { return (x[0] + x[2]) + (x[1] + x[3]); }

// Of a whole block; sets lanes of has_nan, which nothing clears.
float block_maximum(const float* x, Ints& has_nan) {
  Floats most = Floats{} - kInfinity;
  for (size_t i = 0; i < kLogitBlock; i += kLanes) {
    const Floats v = load(x + i);
    has_nan |= v != v;
    most = larger(v, most);
  }
  return largest(most);
}

// e^x for x <= 0: 2^n times a polynomial in the rest, as in Cephes' expf; 0 below -87.
Floats exp_of(Floats x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves an integer in the low bits
  const Floats bounded = larger(x, Floats{} - 87.0f);
  const Floats shifted = bounded * 1.44269504f + kRound;
  const Floats n = shifted - kRound;
  const Floats r = bounded - n * 0.693359375f + n * 2.12194440e-4f;
  Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const Ints exponent = ((Ints)shifted - std::bit_cast<int32_t>(kRound)) << 23;
  return x < -87.0f ? Floats{} : (Floats)((Ints)p + exponent);
}

float exp_block(const float* x, float max, float factor, float* out) {
  Floats sum = {};
  for (size_t i = 0; i < kLogitBlock; i += kLanes) {
    const Floats weight = exp_of((load(x + i) - max) * factor);
    store(out + i, weight);
    sum += weight;
  }
  return sum_of(sum);
}

// The block's values, from the row itself, or in `spare` with -infinity past its end.
using Spare = std::array<float, kLogitBlock>;
const float* whole_block(std::span<const float> row, size_t block, Spare& spare) {
  const BlockRange range = block_range(block, row.size());
  if (range.end - range.begin == kLogitBlock) return row.data() + range.begin;
  spare.fill(-kInfinity);
  std::copy(row.begin() + static_cast<std::ptrdiff_t>(range.begin), row.end(), spare.begin());
  return spare.data();
}

}  // namespace

float find_maxima(std::span<const float> row, std::span<float> maxima) {
  Ints has_nan = {};
  Spare spare;
  float max = -kInfinity;
  for (size_t b = 0; b < maxima.size(); ++b) {
    maxima[b] = block_maximum(whole_block(row, b, spare), has_nan);
    max = larger(maxima[b], max);
  }
  const bool usable = std::isfinite(max) && (has_nan[0] | has_nan[1] | has_nan[2] | has_nan[3]) == 0;
  return usable ? max : std::numeric_limits<float>::quiet_NaN();
}

void exp_blocks(const ExpBlocks& args, std::span<float> sums) {
  // Below this every weight but the largest is 0 anyway.
  const float factor = 1 / std::max(args.temperature, 1e-30f);
  Spare spare, unkept;
  for (size_t b = 0; b < sums.size(); ++b) {
    float* out = args.weights.empty() ? unkept.data() : args.weights.data() + b * kLogitBlock;
    if (args.maxima[b] < args.from) {
      std::fill_n(out, kLogitBlock, 0.0f);
      sums[b] = 0;
    } else {
      sums[b] = exp_block(whole_block(args.row, b, spare), args.max, factor, out);
    }
  }
}

double sum_blocks(std::span<const float> sums) {
  double total = 0;
  for (const float sum : sums) total += static_cast<double>(sum);
  return total;
}

void restrict_weights(std::span<const float> row, Cut cut, float min_weight, std::span<float> weights,
                      std::span<float> sums) {
  Spare spare;
  for (size_t b = 0; b < sums.size(); ++b) {
    if (sums[b] == 0) continue;
    const float* x = whole_block(row, b, spare);
    float* w = weights.data() + b * kLogitBlock;
    Ints id = Ints{0, 1, 2, 3} + static_cast<int32_t>(b * kLogitBlock);
    Floats sum = {};
    for (size_t i = 0; i < kLogitBlock; i += kLanes, id += static_cast<int32_t>(kLanes)) {
      const Floats value = load(x + i), weight = load(w + i);
      const Ints inside = (value > cut.value) | ((value == cut.value) & (id <= cut.id));
      const Floats kept = inside & (weight >= min_weight) ? weight : Floats{};
      store(w + i, kept);
      sum += kept;
    }
    sums[b] = sum_of(sum);
  }
}

}  // namespace chorus
