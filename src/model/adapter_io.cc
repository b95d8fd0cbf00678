#include "model/adapter_io.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <random>
#include <set>

#include "base/error.h"
#include "model/adapter_dora.h"
#include "model/adapter_pack.h"

namespace chorus {
namespace {

void require_finite(const FileTensor& tensor, const std::string& path) {
  if (!std::ranges::all_of(elements_of(tensor), [](float value) { return std::isfinite(value); })) {
    fail("{}: tensor {} holds a value that is not finite", path, printable(tensor.name, 200));
  }
}

// The adapter must fit the base: its layers and the shapes of its linears.
void check_fit(const AdapterFile& file, const ModelConfig& config) {
  if (!file.architecture.empty() && file.architecture != config.architecture) {
    fail("{}: the adapter is for a {} base; this one is {}", file.path, printable(file.architecture),
         config.architecture);
  }
  for (const FilePair& pair : file.pairs) {
    if (pair.layer >= static_cast<int>(config.layers.size())) {
      fail("{}: tensor {} is of layer {}; the base has {} layers", file.path, printable(pair.a->name, 200),
           pair.layer, config.layers.size());
    }
    const LinearShape shape = target_shape(config, pair.target);
    if (pair.a->shape[1] != static_cast<uint64_t>(shape.in)) {
      fail("{}: tensor {} has {} columns; this linear of the base has {} inputs", file.path,
           printable(pair.a->name, 200), pair.a->shape[1], shape.in);
    }
    if (pair.b->shape[0] != static_cast<uint64_t>(shape.out)) {
      fail("{}: tensor {} has {} rows; this linear of the base has {} outputs", file.path,
           printable(pair.b->name, 200), pair.b->shape[0], shape.out);
    }
  }
}

// What the configuration adapts and what the file holds must be the same linears.
void check_complete(const AdapterFile& file, const ModelConfig& config) {
  if (!file.expects) return;
  std::set<std::pair<int, Target>> present;
  for (const FilePair& pair : file.pairs) present.emplace(pair.layer, pair.target);
  const auto check = [&](int layer, Target target) {
    const bool expected = file.expects(layer, target), found = present.contains({layer, target});
    if (expected == found) return;
    fail("{}: layer {} {}: adapter_config.json {}, but the file has {} for it", file.path, layer,
         target_info(target).hf_name, expected ? "adapts it" : "does not adapt it",
         found ? "tensors" : "no tensors");
  };
  for (int layer = 0; layer < static_cast<int>(config.layers.size()); ++layer) {
    for (int t = 0; t < kLayerTargets; ++t) check(layer, static_cast<Target>(t));
  }
  check(0, Target::kHead);
}

void check(const AdapterFile& file, const ModelConfig& config) {
  check_fit(file, config);
  check_complete(file, config);
  for (const FilePair& pair : file.pairs) {
    require_finite(*pair.a, file.path);
    require_finite(*pair.b, file.path);
    if (pair.magnitude != nullptr) require_finite(*pair.magnitude, file.path);
  }
}

// Halves of any sign and mantissa, with exponents around 2^-7.
std::vector<uint16_t> random_f16(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<uint16_t> values(count);
  for (uint16_t& value : values) value = static_cast<uint16_t>((random() & 0x83ff) | 0x2000);
  return values;
}

}  // namespace

AdapterSummary summarize_adapter(const std::string& path) {
  const AdapterFile file = read_adapter_file(FileRoot(), path);
  AdapterSummary summary;
  summary.format = file.format;
  summary.alpha = file.alpha;
  summary.rslora = file.rslora;
  summary.base = file.base;
  summary.min_rank = kMaxRank;
  std::set<Target> targets;
  std::set<int> layers;
  for (const FilePair& pair : file.pairs) {
    const int rank = static_cast<int>(pair.a->shape[0]);
    summary.min_rank = std::min(summary.min_rank, rank);
    summary.max_rank = std::max(summary.max_rank, rank);
    summary.tensors += 2;
    summary.bytes += pair.a->data.size() + pair.b->data.size();
    if (pair.magnitude != nullptr) {
      summary.dora = true;
      ++summary.tensors;
      summary.bytes += pair.magnitude->data.size();
    }
    targets.insert(pair.target);
    if (pair.target != Target::kHead) layers.insert(pair.layer);
  }
  for (const Target target : targets) summary.targets.emplace_back(target_info(target).hf_name);
  summary.layers = static_cast<int>(layers.size());
  return summary;
}

PackedSize check_adapter(const AdapterFile& file, const ModelConfig& config) {
  check(file, config);
  return packed_size(file, config);
}

AdapterHandle load_adapter(const std::string& path, const ModelConfig& config, const Model* model) {
  return load_adapter(read_adapter_file(FileRoot(), path), config, model);
}

AdapterHandle load_adapter(const AdapterFile& file, const ModelConfig& config, const Model* model) {
  check(file, config);
  const bool dora = std::ranges::any_of(file.pairs, [](const FilePair& p) { return p.magnitude != nullptr; });
  if (dora && model == nullptr) fail("{}: DoRA needs the base's weights to be loaded", file.path);
  return pack_adapter(file, config, model);
}

AdapterHandle random_adapter(const ModelConfig& config, int rank, uint64_t seed) {
  int widest = 0;
  for (int t = 0; t < kLayerTargets; ++t) {
    const LinearShape shape = target_shape(config, static_cast<Target>(t));
    widest = std::max({widest, shape.in, shape.out});
  }
  // All tensors are views of one block of values, each at a place of its own.
  constexpr size_t kPlaces = 251;
  const std::vector<uint16_t> values =
      random_f16(static_cast<size_t>(widest) * static_cast<size_t>(rank) + kPlaces, seed);
  std::deque<FileTensor> tensors;
  const auto tensor = [&](int rows, int cols) {
    const auto bytes = std::as_bytes(std::span(values).subspan(
        tensors.size() % kPlaces, static_cast<size_t>(rows) * static_cast<size_t>(cols)));
    return &tensors.emplace_back(
        FileTensor{"random", DType::kF16, {static_cast<uint64_t>(rows), static_cast<uint64_t>(cols)}, bytes});
  };
  AdapterFile file;
  file.path = "random";
  for (int layer = 0; layer < static_cast<int>(config.layers.size()); ++layer) {
    for (int t = 0; t < kLayerTargets; ++t) {
      const auto target = static_cast<Target>(t);
      const LinearShape shape = target_shape(config, target);
      file.pairs.push_back({layer, target, tensor(rank, shape.in), tensor(shape.out, rank), 0.5f});
    }
  }
  return pack_adapter(file, config);
}

}  // namespace chorus
