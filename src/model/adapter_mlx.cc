// MLX-LM directories (mlx_lm/tuner): adapter_config.json with "lora_parameters", and adapters.safetensors
// with X.lora_a [in, rank] and X.lora_b [rank, out] for each adapted module X. The scale is said outright.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "base/error.h"
#include "model/adapter_file.h"

namespace chorus {
namespace {

// Elements of 1, 2 or 4 bytes as they are, rows for columns.
OwnedTensor transposed(const FileTensor& tensor, const std::string& path) {
  if (tensor.shape.size() != 2) fail("{}: tensor {} is not a matrix", path, printable(tensor.name, 200));
  const size_t rows = tensor.shape[0], cols = tensor.shape[1], size = dtype_info(tensor.type).block_bytes;
  std::vector<std::byte> bytes(tensor.data.size());
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < cols; ++c) {
      std::memcpy(&bytes[(c * rows + r) * size], &tensor.data[(r * cols + c) * size], size);
    }
  }
  return {tensor.name, tensor.type, {tensor.shape[1], tensor.shape[0]}, std::move(bytes)};
}

float scale_of(const json::object& config, const std::string& what) {
  const json::value* type = config.if_contains("fine_tune_type");
  if (type != nullptr && *type != "lora") fail("{}: fine_tune_type must be \"lora\"", what);
  const json::value* parameters = config.if_contains("lora_parameters");
  if (parameters == nullptr || !parameters->is_object())
    fail("{}: lora_parameters is missing, or no object", what);
  const json::value* scale = parameters->get_object().if_contains("scale");
  boost::system::error_code error;
  const double number = scale == nullptr ? NAN : scale->to_number<double>(error);
  if (error || !(std::abs(number) < 1e6))
    fail("{}: lora_parameters.scale must be a number of sensible size", what);
  return static_cast<float>(number);
}

// MLX adapts the same linears in each layer from one on to the last; the head apart.
std::function<bool(int, Target)> same_from_first_layer(const std::vector<FilePair>& pairs) {
  std::set<Target> targets;
  int first = kMaxLayers;
  for (const FilePair& pair : pairs) {
    targets.insert(pair.target);
    if (pair.target != Target::kHead) first = std::min(first, pair.layer);
  }
  return [targets, first](int layer, Target target) {
    return targets.contains(target) && (target == Target::kHead || layer >= first);
  };
}

}  // namespace

AdapterFile read_mlx_adapter(const FileRoot& root, const std::string& directory) {
  const std::string config_path = fmt::format("{}/{}", directory, kPeftConfig);
  AdapterFile adapter;
  adapter.path = fmt::format("{}/{}", directory, kMlxTensors);
  adapter.format = "MLX";
  const json::value config = parse_json(root.open(config_path).read_all(size_t{8} << 20), config_path);
  if (!config.is_object()) fail("{}: must be a JSON object", config_path);
  const float scale = scale_of(config.get_object(), config_path);
  const SafetensorsFile file = SafetensorsFile::open({root.open(adapter.path), MappedFile::Access::kCopy});
  PairCollector pairs(adapter.path);
  for (const FileTensor& tensor : file.tensors()) {
    const std::string_view name = tensor.name;
    const bool is_a = name.ends_with(".lora_a"), is_b = name.ends_with(".lora_b");
    const std::optional<ModulePlace> place =
        is_a || is_b ? module_place(name.substr(0, name.size() - 7)) : std::nullopt;
    if (!place) fail("{}: tensor {} adapts no linear that is supported", adapter.path, printable(name, 200));
    pairs.add(place->layer, place->target, is_a, adapter.own(transposed(tensor, adapter.path)));
  }
  adapter.pairs = pairs.finish();
  for (FilePair& pair : adapter.pairs) pair.scale = scale;
  adapter.alpha = double{scale} * static_cast<double>(adapter.pairs.front().a->shape[0]);
  adapter.expects = same_from_first_layer(adapter.pairs);
  return adapter;
}

}  // namespace chorus
