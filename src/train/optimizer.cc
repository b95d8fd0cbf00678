#include "train/optimizer.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstring>
#include <numbers>
#include <vector>

namespace chorus {
namespace {

constexpr size_t kBlock = 256;
// A block of moments: [256] f32 of each, or [256] bytes of each after the two scales.
constexpr size_t kExactBytes = 2 * kBlock * sizeof(float), kByteBytes = 2 * sizeof(float) + 2 * kBlock;

size_t blocks_of(size_t count) { return (count + kBlock - 1) / kBlock; }

// What a block's moments are while they are worked on.
struct Moments {
  std::array<float, kBlock> first, second;
};

void load_bytes(const std::byte* from, Moments& moments) {
  std::array<float, 2> scales;
  std::memcpy(scales.data(), from, sizeof scales);
  const auto* first = reinterpret_cast<const int8_t*>(from + sizeof scales);
  const auto* second = reinterpret_cast<const uint8_t*>(from + sizeof scales + kBlock);
  for (size_t i = 0; i < kBlock; ++i) {
    const float m = static_cast<float>(first[i]) / 127, v = static_cast<float>(second[i]) / 255;
    moments.first[i] = scales[0] * m * std::fabs(m);
    moments.second[i] = scales[1] * (v * v) * (v * v);
  }
}

void store_bytes(const Moments& moments, std::byte* to) {
  std::array<float, 2> scales = {};
  for (size_t i = 0; i < kBlock; ++i) {
    scales[0] = std::max(scales[0], std::fabs(moments.first[i]));
    scales[1] = std::max(scales[1], moments.second[i]);
  }
  std::memcpy(to, scales.data(), sizeof scales);
  auto* first = reinterpret_cast<int8_t*>(to + sizeof scales);
  auto* second = reinterpret_cast<uint8_t*>(to + sizeof scales + kBlock);
  for (size_t i = 0; i < kBlock; ++i) {
    const float m = scales[0] > 0 ? moments.first[i] / scales[0] : 0;
    const float v = scales[1] > 0 ? moments.second[i] / scales[1] : 0;
    first[i] = static_cast<int8_t>(std::copysign(std::nearbyint(127 * std::sqrt(std::fabs(m))), m));
    second[i] = static_cast<uint8_t>(std::min(std::ceil(255 * std::sqrt(std::sqrt(v))), 255.0f));
  }
}

// Parameters from here on have the learning rate times this.
struct Piece {
  size_t begin;
  double ratio;
};

void load_exact(const std::byte* from, Moments& moments) { std::memcpy(&moments, from, sizeof moments); }
void store_exact(const Moments& moments, std::byte* to) { std::memcpy(to, &moments, sizeof moments); }

}  // namespace

double Schedule::factor(int64_t step) const {
  if (step < warmup) return static_cast<double>(step + 1) / static_cast<double>(warmup + 1);
  if (kind == ScheduleKind::kConstant || steps <= warmup) return 1;
  const double done = static_cast<double>(step - warmup) / static_cast<double>(steps - warmup);
  return kind == ScheduleKind::kLinear ? 1 - done : (1 + std::cos(std::numbers::pi * done)) / 2;
}

double norm(ThreadTeam& team, std::span<const float> values) {
  constexpr size_t kPiece = size_t{1} << 14;
  std::vector<double> sums((values.size() + kPiece - 1) / kPiece);
  team.run([&](TeamMember& member) {
    const auto [begin, end] = member.share(static_cast<int64_t>(sums.size()));
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      double sum = 0;
      for (const float x : values.subspan(i * kPiece, std::min(kPiece, values.size() - i * kPiece))) {
        sum += double{x} * x;
      }
      sums[i] = sum;
    }
  });
  double sum = 0;
  for (const double piece : sums) sum += piece;
  return std::sqrt(sum);
}

AdamW::AdamW(size_t count, bool eight_bit)
    : count_(count),
      eight_bit_(eight_bit),
      state_(blocks_of(count) * (eight_bit ? kByteBytes : kExactBytes)) {
  std::memset(state_.data(), 0, state_.size());
}

double AdamW::step(ThreadTeam& team, const AdamWOptions& options, double factor, LoraParameters& parameters,
                   std::span<const float> gradient) {
  const std::span<float> values = parameters.values();
  assert(values.size() == count_ && gradient.size() == count_);
  const double length = norm(team, gradient);
  const double clip = options.clip_norm > 0 && length > options.clip_norm ? options.clip_norm / length : 1;
  ++steps_;
  const auto t = static_cast<double>(steps_);
  const double correction1 = 1 - std::pow(options.beta1, t), correction2 = 1 - std::pow(options.beta2, t);
  const double rate = options.learning_rate * factor;
  // Where A, B and, with DoRA, lengths begin by turns.
  std::vector<Piece> pieces;
  for (const LoraGroup& group : parameters.groups()) {
    pieces.insert(pieces.end(), {{group.a, 1}, {group.b, options.b_ratio}, {group.m, 1}});
  }
  pieces.push_back({count_, 1});
  const auto beta1 = static_cast<float>(options.beta1), beta2 = static_cast<float>(options.beta2);
  const auto scale = static_cast<float>(clip), epsilon = static_cast<float>(options.epsilon);
  const auto root_correction = static_cast<float>(1 / std::sqrt(correction2));
  team.run([&](TeamMember& member) {
    const auto [begin, end] = member.share(static_cast<int64_t>(blocks_of(count_)));
    const size_t bytes = eight_bit_ ? kByteBytes : kExactBytes;
    Moments moments;
    for (auto index = static_cast<size_t>(begin); index < static_cast<size_t>(end); ++index) {
      std::byte* state = state_.data() + index * bytes;
      (eight_bit_ ? load_bytes : load_exact)(state, moments);
      const size_t first = index * kBlock, count = std::min(kBlock, count_ - first);
      for (size_t i = 0; i < count; ++i) {
        const float g = gradient[first + i] * scale;
        moments.first[i] = beta1 * moments.first[i] + (1 - beta1) * g;
        moments.second[i] = beta2 * moments.second[i] + (1 - beta2) * g * g;
      }
      (eight_bit_ ? store_bytes : store_exact)(moments, state);
      auto piece = std::prev(std::ranges::upper_bound(pieces, first, {}, &Piece::begin));
      for (size_t i = 0; i < count; ++i) {
        while (first + i == std::next(piece)->begin) ++piece;
        const double own = rate * piece->ratio;
        const auto decay = static_cast<float>(1 - own * options.weight_decay);
        const auto size = static_cast<float>(own / correction1);
        const float divisor = std::sqrt(moments.second[i]) * root_correction + epsilon;
        float& value = values[first + i];
        value = value * decay - size * moments.first[i] / divisor;
      }
    }
  });
  return length;
}

}  // namespace chorus
