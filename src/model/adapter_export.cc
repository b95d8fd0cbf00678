#include "model/adapter_export.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <set>

#include "base/atomic_file.h"
#include "base/error.h"
#include "formats/quant_blocks.h"
#include "model/repack.h"

namespace chorus {
namespace {

double rank_of(const FilePair& pair) { return static_cast<double>(pair.a->shape[0]); }

// The alpha that gives the pair's scale when it is divided by `divisor`: the adapter's own if that does; or
// one that is short to write.
double alpha_of(const AdapterFile& adapter, const FilePair& pair, double divisor) {
  const auto gives_scale = [&](double alpha) { return static_cast<float>(alpha / divisor) == pair.scale; };
  if (gives_scale(adapter.alpha)) return adapter.alpha;
  const double exact = double{pair.scale} * divisor;
  const auto rounded = static_cast<float>(exact);
  return gives_scale(rounded) ? rounded : exact;
}

// The value that most pairs have; of equally many, the smallest.
double most_frequent(const std::map<double, int>& counts) {
  return std::ranges::max_element(counts, {}, [](const auto& item) { return item.second; })->first;
}

bool is_permuted(Target target) { return target == Target::kQ || target == Target::kK; }

// Rows of q's or k's B from GGUF's order to Hugging Face's, or the other way round.
OwnedTensor reordered(const FileTensor& tensor, int head_dim, bool to_gguf) {
  const RowOrder order{head_dim};
  const size_t row_bytes = tensor.data.size() / tensor.shape[0];
  std::vector<std::byte> bytes(tensor.data.size());
  for (int row = 0; row < static_cast<int>(tensor.shape[0]); ++row) {
    const auto plain = static_cast<size_t>(row), interleaved = static_cast<size_t>(order.source(row));
    std::memcpy(&bytes[(to_gguf ? interleaved : plain) * row_bytes],
                &tensor.data[(to_gguf ? plain : interleaved) * row_bytes], row_bytes);
  }
  return {tensor.name, tensor.type, tensor.shape, std::move(bytes)};
}

OwnedTensor multiplied(const FileTensor& tensor, double factor) {
  std::vector<float> values(tensor.data.size() / dtype_info(tensor.type).block_bytes);
  dequantize(tensor.type, tensor.data, values);
  for (float& value : values) value = static_cast<float>(value * factor);
  const auto bytes = std::as_bytes(std::span(values));
  return {tensor.name, DType::kF32, tensor.shape, {bytes.begin(), bytes.end()}};
}

// The adapter's tensors under the names of another format.
class Renamed {
 public:
  Renamed(const AdapterFile& adapter, const ModelConfig& config, bool to_gguf)
      : config_(config),
        to_gguf_(to_gguf),
        reorder_(adapter.permuted_qk != (to_gguf && gguf_permutes_qk(config.architecture))) {}

  void add_a(const FilePair& pair, std::string name) { add(*pair.a, std::move(name)); }
  // `factor`: what B is multiplied by.
  void add_b(const FilePair& pair, std::string name, double factor) {
    const FileTensor* b = pair.b;
    if (reorder_ && is_permuted(pair.target)) b = &memory_.own(reordered(*b, config_.head_dim, to_gguf_));
    if (factor != 1) b = &memory_.own(multiplied(*b, factor));
    add(*b, std::move(name));
  }
  void add_magnitude(const FilePair& pair, std::string name) { add(*pair.magnitude, std::move(name)); }
  const std::vector<FileTensor>& tensors() const { return tensors_; }

 private:
  void add(const FileTensor& tensor, std::string name) {
    tensors_.push_back({std::move(name), tensor.type, tensor.shape, tensor.data});
  }

  const ModelConfig& config_;
  const bool to_gguf_, reorder_;
  AdapterFile memory_;  // of tensors that are not as they were
  std::vector<FileTensor> tensors_;
};

// Whole numbers without a fraction.
json::value number_json(double number) {
  const bool whole = number == std::floor(number) && std::abs(number) < 1e15;
  return whole ? json::value(static_cast<int64_t>(number)) : json::value(number);
}

// target_modules and layers_to_transform: the linears' own names where all adapted layers have the same; or
// else every module by its whole name.
void put_targets(json::object& fields, const AdapterFile& adapter, const ModelConfig& config) {
  std::map<int, std::set<Target>> layers;
  bool head = false;
  for (const FilePair& pair : adapter.pairs) {
    if (pair.target == Target::kHead) {
      head = true;
    } else {
      layers[pair.layer].insert(pair.target);
    }
  }
  const bool same =
      std::ranges::all_of(layers, [&](const auto& layer) { return layer.second == layers.begin()->second; });
  const bool all = layers.empty() || layers.size() == config.layers.size();
  json::array names;
  if (!same || (head && !all)) {
    for (const FilePair& pair : adapter.pairs) names.emplace_back(module_name(pair.layer, pair.target));
  } else {
    if (!layers.empty()) {
      for (const Target target : layers.begin()->second) names.emplace_back(target_info(target).hf_name);
    }
    if (head) names.emplace_back(target_info(Target::kHead).hf_name);
    if (!all) {
      json::array& indices = fields["layers_to_transform"].emplace_array();
      for (const auto& [layer, targets] : layers) indices.emplace_back(layer);
    }
  }
  fields["target_modules"] = std::move(names);
}

// r and lora_alpha are what most pairs have; the others stand in the patterns, by their whole names.
void put_scales(json::object& fields, const AdapterFile& adapter) {
  std::map<double, int> ranks, alphas;
  const auto alpha = [&](const FilePair& pair) {
    return alpha_of(adapter, pair, adapter.rslora ? std::sqrt(rank_of(pair)) : rank_of(pair));
  };
  for (const FilePair& pair : adapter.pairs) {
    ++ranks[rank_of(pair)];
    ++alphas[alpha(pair)];
  }
  const double common_rank = most_frequent(ranks), common_alpha = most_frequent(alphas);
  json::object rank_pattern, alpha_pattern;
  for (const FilePair& pair : adapter.pairs) {
    const std::string name = module_name(pair.layer, pair.target);
    if (rank_of(pair) != common_rank) rank_pattern[name] = number_json(rank_of(pair));
    if (alpha(pair) != common_alpha) alpha_pattern[name] = number_json(alpha(pair));
  }
  fields["r"] = number_json(common_rank);
  fields["lora_alpha"] = number_json(common_alpha);
  fields["use_rslora"] = adapter.rslora;
  if (adapter.pairs.front().magnitude != nullptr) fields["use_dora"] = true;
  if (!rank_pattern.empty()) fields["rank_pattern"] = std::move(rank_pattern);
  if (!alpha_pattern.empty()) fields["alpha_pattern"] = std::move(alpha_pattern);
}

std::map<std::string, std::string> peft_metadata(const AdapterBase& base) {
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
  if (!base.id.empty()) metadata.emplace(kBaseKey, base.id);
  if (!base.chat_template.empty()) metadata.emplace(kChatTemplateKey, base.chat_template);
  return metadata;
}

// Of all pairs but those without effect, which any alpha has if B is 0.
double gguf_alpha(const AdapterFile& adapter) {
  std::map<double, int> counts;
  for (const FilePair& pair : adapter.pairs) {
    if (pair.scale != 0) ++counts[static_cast<float>(alpha_of(adapter, pair, rank_of(pair)))];
  }
  return counts.empty() ? 1 : most_frequent(counts);
}

std::vector<std::pair<std::string, GgufValue>> gguf_metadata(const AdapterBase& base,
                                                             const std::string& architecture, double alpha) {
  std::vector<std::pair<std::string, GgufValue>> metadata = {{"general.type", "adapter"},
                                                             {"general.architecture", architecture},
                                                             {"adapter.type", "lora"},
                                                             {"adapter.lora.alpha", alpha}};
  if (!base.name.empty()) {
    metadata.emplace_back("general.base_model.count", int64_t{1});
    metadata.emplace_back(kGgufBaseName, base.name);
  }
  if (!base.id.empty()) metadata.emplace_back(kBaseKey, base.id);
  if (!base.chat_template.empty()) metadata.emplace_back(kChatTemplateKey, base.chat_template);
  return metadata;
}

std::string gguf_name(const FilePair& pair) {
  const std::string_view name = target_info(pair.target).gguf_name;
  return pair.target == Target::kHead ? fmt::format("{}.weight", name)
                                      : fmt::format("blk.{}.{}.weight", pair.layer, name);
}

}  // namespace

void write_peft_adapter(const std::string& directory, const AdapterFile& adapter, const ModelConfig& config,
                        double dropout) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) fail("{}: cannot be made: {}", printable(directory, 300), error.message());
  Renamed renamed(adapter, config, false);
  for (const FilePair& pair : adapter.pairs) {
    const std::string name = "base_model.model." + module_name(pair.layer, pair.target);
    renamed.add_a(pair, name + ".lora_A.weight");
    renamed.add_b(pair, name + ".lora_B.weight", 1);
    if (pair.magnitude != nullptr) renamed.add_magnitude(pair, fmt::format("{}{}", name, kPeftMagnitude));
  }
  json::object fields = {{"peft_type", "LORA"}, {"task_type", "CAUSAL_LM"}};
  put_scales(fields, adapter);
  put_targets(fields, adapter, config);
  fields["bias"] = "none";
  fields["lora_dropout"] = dropout;
  fields["base_model_name_or_path"] = adapter.base.name;
  fields["inference_mode"] = true;
  write_safetensors(fmt::format("{}/{}", directory, kPeftTensors), renamed.tensors(),
                    peft_metadata(adapter.base));
  AtomicFile file(fmt::format("{}/{}", directory, kPeftConfig));
  file.write(json::serialize(fields) + "\n");
  file.commit();
}

void require_gguf_names(const AdapterFile& adapter, const ModelConfig& config) {
  if (adapter.pairs.front().magnitude != nullptr)
    fail("{}: has DoRA, which GGUF has no names for", adapter.path);
  const auto last = adapter.pairs.back().target;
  if (last == Target::kHead && config.tied_head) {
    fail("{}: lm_head is adapted, and the base's head is its embedding: GGUF has no name for that",
         adapter.path);
  }
}

void write_gguf_adapter(const std::string& path, const AdapterFile& adapter, const ModelConfig& config) {
  require_gguf_names(adapter, config);
  const double alpha = gguf_alpha(adapter);
  Renamed renamed(adapter, config, true);
  for (const FilePair& pair : adapter.pairs) {
    const std::string name = gguf_name(pair);
    const double scale = alpha / rank_of(pair), factor = pair.scale / scale;
    renamed.add_a(pair, name + ".lora_a");
    renamed.add_b(pair, name + ".lora_b", std::abs(factor - 1) < 1e-6 ? 1 : factor);
  }
  write_gguf(path, gguf_metadata(adapter.base, config.architecture, alpha), renamed.tensors());
}

}  // namespace chorus
