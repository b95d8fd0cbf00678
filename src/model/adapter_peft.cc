// PEFT directories: adapter_config.json and adapter_model.safetensors. What each field means is PEFT's own
// reading of it (src/peft/tuners/tuners_utils.py, src/peft/utils/other.py).

#include <array>
#include <cmath>

#include "base/error.h"
#include "model/adapter_file.h"

namespace chorus {
namespace {

// rank_pattern or alpha_pattern: the first pattern that matches the end of a module's name gives its value.
using Pattern = std::vector<std::pair<std::shared_ptr<const Regex>, double>>;

std::optional<double> value_in(const Pattern& pattern, const std::string& module) {
  for (const auto& [regex, value] : pattern) {
    if (matches_whole(*regex, module)) return value;
  }
  return std::nullopt;
}

struct PeftConfig {
  double rank = 0, alpha = 0;
  bool rslora = false, dora = false;
  ModuleSet targets, excluded;
  std::vector<int64_t> layers;  // empty: all
  Pattern rank_pattern, alpha_pattern;

  bool adapts(int layer, Target target) const {
    const std::string module = module_name(layer, target);
    if (excluded.given() && excluded.contains(module)) return false;
    if (!targets.contains(module)) return false;
    if (layers.empty()) return true;
    if (target == Target::kHead) return false;
    return std::ranges::find(layers, layer) != layers.end();
  }
};

// Fields that change nothing about what is computed: notes, and settings of the training.
constexpr std::array<std::string_view, 15> kIgnored = {
    "task_type",      "auto_mapping",        "peft_version",        "base_model_name_or_path",
    "revision",       "inference_mode",      "lora_dropout",        "megatron_core",
    "runtime_config", "loftq_config",        "eva_config",          "qalora_group_size",
    "lora_ga_config", "ensure_weight_tying", "_attn_implementation"};
constexpr std::array<std::string_view, 12> kRead = {"peft_type",         "r",
                                                    "lora_alpha",        "use_rslora",
                                                    "use_dora",          "target_modules",
                                                    "exclude_modules",   "rank_pattern",
                                                    "alpha_pattern",     "layers_to_transform",
                                                    "init_lora_weights", "bias"};

bool is_empty(const json::value& value) {
  if (value.is_null()) return true;
  if (value.is_bool()) return !value.get_bool();
  if (value.is_array()) return value.get_array().empty();
  if (value.is_object()) return value.get_object().empty();
  return false;
}

// The ways to start that leave the base weights alone. Others (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) train
// against changed ones, so that the adapter by itself is not the difference.
void check_init(const json::object& object, const std::string& what) {
  constexpr std::array<std::string_view, 3> kKnown = {"gaussian", "eva", "orthogonal"};
  const json::value* init = object.if_contains("init_lora_weights");
  if (init == nullptr || init->is_null() || init->is_bool()) return;
  if (!init->is_string()) fail("{}: init_lora_weights must be true, false or a string", what);
  const std::string_view name = init->get_string();
  if (std::ranges::find(kKnown, name) != kKnown.end()) return;
  fail("{}: init_lora_weights is \"{}\"; supported are true, false, \"{}\", which leave the base as it is",
       what, printable(name), fmt::join(kKnown, "\", \""));
}

// Everything else must be off: a field that we do not know may change the mathematics.
void refuse_unknown_fields(const json::object& object, const std::string& what) {
  for (const auto& [key, value] : object) {
    const std::string_view name = key;
    if (std::ranges::find(kIgnored, name) != kIgnored.end() || std::ranges::find(kRead, name) != kRead.end())
      continue;
    if (!is_empty(value)) fail("{}: {} is not supported", what, printable(name));
  }
  const json::value* bias = object.if_contains("bias");
  if (bias != nullptr && *bias != "none")
    fail("{}: bias must be \"none\"; trained biases are not supported", what);
  check_init(object, what);
}

double finite_number(const json::object& object, std::string_view field, const std::string& what,
                     double fallback) {
  const json::value* value = object.if_contains(field);
  if (value == nullptr) {
    if (std::isnan(fallback)) fail("{}: {} is missing", what, field);
    return fallback;
  }
  boost::system::error_code error;
  const double number = value->to_number<double>(error);
  if (error || !(std::abs(number) < 1e6)) fail("{}: {} must be a number of sensible size", what, field);
  return number;
}

double checked_rank(double rank, std::string_view field, const std::string& what) {
  if (!(rank >= 1 && rank <= kMaxRank) || rank != std::floor(rank)) {
    fail("{}: {} is {}; it must be a whole number in 1..{}", what, field, rank, kMaxRank);
  }
  return rank;
}

Pattern pattern_of(const json::object& object, std::string_view field, const std::string& what) {
  Pattern pattern;
  const json::value* value = object.if_contains(field);
  if (value == nullptr || value->is_null()) return pattern;
  if (!value->is_object()) fail("{}: {} must be an object", what, field);
  const std::string where = fmt::format("{}: {}", what, field);
  for (const auto& [key, number] : value->get_object()) {
    Regex regex = whole_regex(fmt::format("(?:.*\\.)?(?:{})", std::string_view(key)), where);
    pattern.emplace_back(std::make_shared<const Regex>(std::move(regex)),
                         finite_number(value->get_object(), key, where, NAN));
  }
  return pattern;
}

std::vector<int64_t> layers_of(const json::object& object, const std::string& what) {
  const json::value* value = object.if_contains("layers_to_transform");
  if (value == nullptr || value->is_null()) return {};
  std::vector<int64_t> layers;
  const auto add = [&](const json::value& layer) {
    if (!layer.is_int64() || layer.get_int64() < 0)
      fail("{}: layers_to_transform must hold layer indices", what);
    layers.push_back(layer.get_int64());
  };
  if (value->is_array()) {
    for (const json::value& layer : value->get_array()) add(layer);
  } else {
    add(*value);
  }
  return layers;
}

bool flag_of(const json::object& object, std::string_view field, const std::string& what) {
  const json::value* value = object.if_contains(field);
  if (value == nullptr || is_empty(*value)) return false;
  if (*value != true) fail("{}: {} must be true or false", what, field);
  return true;
}

PeftConfig parse_config(const json::object& object, const std::string& what) {
  const json::value* type = object.if_contains("peft_type");
  if (type == nullptr || *type != "LORA") fail("{}: peft_type must be \"LORA\"", what);
  refuse_unknown_fields(object, what);
  PeftConfig config;
  config.rank = checked_rank(finite_number(object, "r", what, NAN), "r", what);
  config.alpha = finite_number(object, "lora_alpha", what, NAN);
  config.rslora = flag_of(object, "use_rslora", what);
  config.dora = flag_of(object, "use_dora", what);
  const json::value* targets = object.if_contains("target_modules");
  if (targets == nullptr || targets->is_null()) fail("{}: target_modules is missing", what);
  config.targets = ModuleSet(*targets, what + ": target_modules");
  if (const json::value* excluded = object.if_contains("exclude_modules"); excluded && !is_empty(*excluded)) {
    config.excluded = ModuleSet(*excluded, what + ": exclude_modules");
  }
  config.layers = layers_of(object, what);
  config.rank_pattern = pattern_of(object, "rank_pattern", what);
  config.alpha_pattern = pattern_of(object, "alpha_pattern", what);
  for (const auto& [regex, rank] : config.rank_pattern) checked_rank(rank, "rank_pattern", what);
  return config;
}

enum class Part : uint8_t { kA, kB, kMagnitude };

struct Place {
  ModulePlace module;
  Part part;
};

// "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight", or "...model.lm_head.lora_B.weight".
std::optional<Place> place_of(std::string_view name) {
  constexpr std::string_view kPrefix = "base_model.model.";
  constexpr std::array<std::pair<std::string_view, Part>, 3> kEnds = {
      {{".lora_A.weight", Part::kA}, {".lora_B.weight", Part::kB}, {kPeftMagnitude, Part::kMagnitude}}};
  const auto end =
      std::ranges::find_if(kEnds, [&](const auto& candidate) { return name.ends_with(candidate.first); });
  if (end == kEnds.end() || !name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  if (name.size() <= end->first.size()) return std::nullopt;
  name.remove_suffix(end->first.size());
  const std::optional<ModulePlace> module = module_place(name);
  if (!module) return std::nullopt;
  return Place{*module, end->second};
}

AdapterBase base_of(const json::object& config, const std::map<std::string, std::string>& metadata) {
  AdapterBase base;
  if (const json::value* name = config.if_contains("base_model_name_or_path"); name && name->is_string())
    base.name = name->get_string();
  const auto read = [&](std::string_view key, std::string& value) {
    if (const auto it = metadata.find(std::string(key)); it != metadata.end()) value = it->second;
  };
  read(kBaseKey, base.id);
  read(kChatTemplateKey, base.chat_template);
  return base;
}

void apply_scales(AdapterFile& adapter, const PeftConfig& config) {
  for (FilePair& pair : adapter.pairs) {
    const std::string module = module_name(pair.layer, pair.target);
    const double rank = value_in(config.rank_pattern, module).value_or(config.rank);
    const double alpha = value_in(config.alpha_pattern, module).value_or(config.alpha);
    if (static_cast<double>(pair.a->shape[0]) != rank) {
      fail("{}: tensor {} has rank {}, but adapter_config.json says {}", adapter.path,
           printable(pair.a->name), pair.a->shape[0], rank);
    }
    pair.scale = static_cast<float>(alpha / (config.rslora ? std::sqrt(rank) : rank));
  }
}

// All linears or none have DoRA, as the configuration says.
void require_magnitudes(const AdapterFile& adapter, bool dora, const std::string& what) {
  for (const FilePair& pair : adapter.pairs) {
    if ((pair.magnitude != nullptr) == dora) continue;
    const std::string module = module_name(pair.layer, pair.target);
    if (dora) fail("{}: use_dora is true, but {} has no lora_magnitude_vector", what, module);
    fail("{}: use_dora is not true, but {} has a lora_magnitude_vector", what, module);
  }
}

// Each name of the list must be the end of some adapted module's name.
void require_names_used(const AdapterFile& adapter, const PeftConfig& config, const std::string& what) {
  if (!config.targets.is_list()) return;
  for (const std::string& name : config.targets.names()) {
    const bool used = std::ranges::any_of(adapter.pairs, [&](const FilePair& pair) {
      return ModuleSet::name_matches(name, module_name(pair.layer, pair.target));
    });
    if (!used)
      fail("{}: target_modules names \"{}\", which has no tensors in the adapter", what, printable(name));
  }
}

}  // namespace

AdapterFile read_peft_adapter(const FileRoot& root, const std::string& directory) {
  const std::string config_path = fmt::format("{}/{}", directory, kPeftConfig);
  const std::string pickle_path = fmt::format("{}/{}", directory, kPeftPickle);
  AdapterFile adapter;
  adapter.path = fmt::format("{}/{}", directory, kPeftTensors);
  adapter.format = "PEFT";
  if (!root.look(adapter.path) && root.look(pickle_path))
    fail("{}: pickled weights are never loaded; save the adapter as safetensors", pickle_path);
  const json::value value = parse_json(root.open(config_path).read_all(size_t{8} << 20), config_path);
  if (!value.is_object()) fail("{}: must be a JSON object", config_path);
  const PeftConfig config = parse_config(value.get_object(), config_path);
  adapter.safetensors = std::make_unique<SafetensorsFile>(
      SafetensorsFile::open({root.open(adapter.path), MappedFile::Access::kCopy}));
  PairCollector pairs(adapter.path);
  for (const FileTensor& tensor : adapter.safetensors->tensors()) {
    const std::optional<Place> place = place_of(tensor.name);
    if (!place)
      fail("{}: tensor {} adapts no linear that is supported", adapter.path, printable(tensor.name, 200));
    if (place->part == Part::kMagnitude) {
      pairs.add_magnitude(place->module.layer, place->module.target, tensor);
    } else {
      pairs.add(place->module.layer, place->module.target, place->part == Part::kA, tensor);
    }
  }
  adapter.pairs = pairs.finish();
  adapter.base = base_of(value.get_object(), adapter.safetensors->metadata());
  adapter.alpha = config.alpha;
  adapter.rslora = config.rslora;
  apply_scales(adapter, config);
  require_magnitudes(adapter, config.dora, config_path);
  require_names_used(adapter, config, config_path);
  adapter.expects = [config](int layer, Target target) { return config.adapts(layer, target); };
  return adapter;
}

}  // namespace chorus
