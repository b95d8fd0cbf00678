#include "train/lora_parameters.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace chorus {
namespace {

// The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): one bit in flips half of those out.
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

size_t place_index(size_t layers, int layer, Target target) {
  if (target == Target::kHead) return layers * kLayerTargets;
  return static_cast<size_t>(layer * kLayerTargets) + static_cast<size_t>(target);
}

size_t place_index(size_t layers, int layer, InputGroup group) {
  if (group == InputGroup::kHead) return layers * kLayerGroups;
  return static_cast<size_t>(layer * kLayerGroups) + static_cast<size_t>(group);
}

// Of [rows, cols] -> [cols, rows], in squares that stay in the first cache.
void transpose(const float* from, size_t rows, size_t cols, float* to) {
  constexpr size_t kSide = 16;
  for (size_t row = 0; row < rows; row += kSide) {
    for (size_t col = 0; col < cols; ++col) {
      const size_t end = std::min(row + kSide, rows);
      for (size_t r = row; r < end; ++r) to[col * rows + r] = from[r * cols + col];
    }
  }
}

}  // namespace

bool adapts(const LoraShape& shape, int layer, Target target) {
  if (!shape.modules.empty())
    return std::ranges::find(shape.modules, ModulePlace{layer, target}) != shape.modules.end();
  if (std::ranges::find(shape.targets, target) == shape.targets.end()) return false;
  return target == Target::kHead || shape.layers.empty() ||
         std::ranges::find(shape.layers, layer) != shape.layers.end();
}

uint64_t stream_key(uint64_t seed, uint64_t stream) { return mix(mix(seed + 0x9e3779b97f4a7c15) + stream); }

double uniform_at(uint64_t key, uint64_t index) {
  return static_cast<double>(mix(key + index * 0x9e3779b97f4a7c15) >> 11) * 0x1p-53;
}

LoraParameters::LoraParameters(const ModelConfig& config, const LoraShape& shape, uint64_t seed)
    : shape_(shape),
      layers_(config.layers.size()),
      places_(layers_ * kLayerTargets + 1, -1),
      group_places_(layers_ * kLayerGroups + 1, -1) {
  const auto rank = static_cast<size_t>(shape.rank);
  scale_ = static_cast<float>(shape.alpha / (shape.rslora ? std::sqrt(shape.rank) : shape.rank));
  for (int layer = 0; layer < static_cast<int>(layers_); ++layer) {
    for (int t = 0; t < kLayerTargets; ++t) add(config, layer, static_cast<Target>(t));
  }
  add(config, 0, Target::kHead);
  assert(!linears_.empty());
  values_ = Buffer<float>(lay_out());
  std::ranges::fill(values_.span(), 0.0f);
  for (const LoraLinear& linear : linears_) {
    const uint64_t key = stream_key(seed, place_index(layers_, linear.layer, linear.target));
    const double bound = 1 / std::sqrt(linear.in);
    for (size_t i = 0; i < rank * static_cast<size_t>(linear.in); ++i) {
      values_[linear.a + i] = static_cast<float>((2 * uniform_at(key, i) - 1) * bound);
    }
  }
}

void LoraParameters::add(const ModelConfig& config, int layer, Target target) {
  if (!adapts(shape_, layer, target)) return;
  const LinearShape shape = target_shape(config, target);
  const InputGroup group = group_place(target).group;
  int& place = group_places_[place_index(layers_, layer, group)];
  if (place < 0) {
    place = static_cast<int>(groups_.size());
    groups_.push_back({layer, group, linears_.size(), 0, shape.in});
  }
  ++groups_.back().count;
  places_[place_index(layers_, layer, target)] = static_cast<int>(linears_.size());
  linears_.push_back({layer, target, shape.in, shape.out});
}

// Gives every tensor its place; how many floats there are.
size_t LoraParameters::lay_out() {
  size_t size = 0;
  const auto take = [&](int rank, int count) {
    const size_t at = size;
    size += static_cast<size_t>(rank) * static_cast<size_t>(count);
    return at;
  };
  for (LoraGroup& group : groups_) {
    const auto linears = std::span(linears_).subspan(group.first, group.count);
    group.a = size;
    for (LoraLinear& linear : linears) linear.a = take(shape_.rank, linear.in);
    group.b = size;
    for (LoraLinear& linear : linears) linear.b = take(shape_.rank, linear.out);
    group.m = size;
    for (LoraLinear& linear : linears) linear.m = shape_.dora ? take(1, linear.out) : size;
  }
  return size;
}

void LoraParameters::set_lengths(size_t linear, std::span<const float> lengths) {
  std::ranges::copy(lengths, values_.data() + linears_[linear].m);
}

const LoraLinear* LoraParameters::find(int layer, Target target) const {
  const int index = places_[place_index(layers_, layer, target)];
  return index < 0 ? nullptr : &linears_[static_cast<size_t>(index)];
}

const LoraGroup* LoraParameters::find(int layer, InputGroup group) const {
  const int index = group_places_[place_index(layers_, layer, group)];
  return index < 0 ? nullptr : &groups_[static_cast<size_t>(index)];
}

int LoraParameters::lowest_layer() const {
  const LoraLinear& first = linears_.front();
  return first.target == Target::kHead ? static_cast<int>(layers_) : first.layer;
}

AdapterFile LoraParameters::file() const {
  AdapterFile file;
  file.alpha = shape_.alpha;
  file.rslora = shape_.rslora;
  const auto tensor = [&](size_t offset, int rows, int cols) {
    const auto count = static_cast<size_t>(rows) * static_cast<size_t>(cols);
    return &file.view({"",
                       DType::kF32,
                       {static_cast<uint64_t>(rows), static_cast<uint64_t>(cols)},
                       std::as_bytes(values().subspan(offset, count))});
  };
  for (const LoraLinear& linear : linears_) {
    file.pairs.push_back({linear.layer, linear.target, tensor(linear.a, shape_.rank, linear.in),
                          tensor(linear.b, linear.out, shape_.rank), scale_});
    if (!shape_.dora) continue;
    const auto lengths = std::as_bytes(values().subspan(linear.m, static_cast<size_t>(linear.out)));
    file.pairs.back().magnitude = &file.view({"", DType::kF32, {static_cast<uint64_t>(linear.out)}, lengths});
  }
  return file;
}

void LoraParameters::transpose_a(const LoraGroup& group, std::span<float> out) const {
  const size_t ranks = group.count * static_cast<size_t>(shape_.rank);
  transpose(values_.data() + group.a, ranks, static_cast<size_t>(group.in), out.data() + group.a);
}

}  // namespace chorus
