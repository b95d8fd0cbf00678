// Hugging Face config.json -> ModelConfig. Fields as transformers reads them, in the form of its 4.x releases
// (rope_theta, rope_scaling) and of 5.x (rope_parameters).

#include <array>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "model/config.h"
#include "model/rope.h"

namespace chorus {
namespace {

// Typed reads of one JSON object; null counts as absent.
class Fields {
 public:
  Fields(const json::object& object, std::string what) : object_(object), what_(std::move(what)) {}

  const json::value* find(std::string_view name) const {
    const json::value* value = object_.if_contains(name);
    return value == nullptr || value->is_null() ? nullptr : value;
  }
  std::optional<double> number(std::string_view name) const {
    const json::value* value = find(name);
    if (value == nullptr) return std::nullopt;
    boost::system::error_code error;
    const double number = value->to_number<double>(error);
    if (error || !std::isfinite(number)) fail("{}: {} is not a number", what_, name);
    return number;
  }
  double positive(std::string_view name, std::optional<double> fallback = std::nullopt) const {
    const std::optional<double> value = number(name).has_value() ? number(name) : fallback;
    if (!value) fail("{}: {} is missing", what_, name);
    if (!(*value > 0)) fail("{}: {} is {}; it must be above 0", what_, name, *value);
    return *value;
  }
  int count(std::string_view name, std::optional<int> fallback = std::nullopt) const {
    const double value = positive(name, fallback);
    if (value != std::floor(value) || value > (1 << 28))
      fail("{}: {} is {}; a whole number is needed", what_, name, value);
    return static_cast<int>(value);
  }
  bool flag(std::string_view name, bool fallback) const {
    const json::value* value = find(name);
    if (value == nullptr) return fallback;
    if (!value->is_bool()) fail("{}: {} must be true or false", what_, name);
    return value->get_bool();
  }
  std::string text(std::string_view name, std::string_view fallback) const {
    const json::value* value = find(name);
    if (value == nullptr) return std::string(fallback);
    if (!value->is_string()) fail("{}: {} must be a string", what_, name);
    return std::string(value->get_string());
  }
  std::optional<Fields> object(std::string_view name) const {
    const json::value* value = find(name);
    if (value == nullptr) return std::nullopt;
    if (!value->is_object()) fail("{}: {} must be an object", what_, name);
    return Fields(value->get_object(), fmt::format("{}: {}", what_, name));
  }
  const std::string& what() const { return what_; }

 private:
  const json::object& object_;
  std::string what_;
};

RopeConfig rope_from(const Fields& scaling, int head_dim, double base) {
  const std::string kind = scaling.text("rope_type", scaling.text("type", "default"));
  if (kind == "default") return plain_rope(head_dim, base);
  if (kind == "linear") return linear_rope(head_dim, base, scaling.positive("factor"));
  if (kind == "llama3") {
    const Llama3Scaling s{scaling.positive("factor"), scaling.positive("low_freq_factor"),
                          scaling.positive("high_freq_factor"),
                          scaling.positive("original_max_position_embeddings")};
    if (s.high_freq_factor <= s.low_freq_factor) {
      fail("{}: high_freq_factor must be above low_freq_factor", scaling.what());
    }
    return llama3_rope(head_dim, base, s);
  }
  fail("{}: rope_type is \"{}\"; known: default, linear, llama3", scaling.what(), printable(kind));
}

RopeConfig rope_of_model(const Fields& fields, int head_dim, double default_base) {
  if (const auto parameters = fields.object("rope_parameters")) {
    return rope_from(*parameters, head_dim, parameters->positive("rope_theta", default_base));
  }
  const double base = fields.positive("rope_theta", default_base);
  const auto scaling = fields.object("rope_scaling");
  return scaling ? rope_from(*scaling, head_dim, base) : plain_rope(head_dim, base);
}

ModelConfig common(const Fields& f) {
  ModelConfig c;
  c.name = f.text("_name_or_path", "");
  c.hidden = f.count("hidden_size");
  c.ffn = f.count("intermediate_size");
  c.heads = f.count("num_attention_heads");
  c.kv_heads = f.count("num_key_value_heads", c.heads);
  c.head_dim = f.count("head_dim", std::max(1, c.hidden / c.heads));
  c.vocab = f.count("vocab_size");
  c.context_length = f.count("max_position_embeddings", 4096);
  c.norm_eps = static_cast<float>(f.positive("rms_norm_eps", 1e-6));
  c.attention_scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  const int layers = f.count("num_hidden_layers");
  if (layers > 1024) fail("{}: num_hidden_layers is {}; at most 1024", f.what(), layers);
  c.layers.resize(static_cast<size_t>(layers));
  for (const std::string_view bias : {"attention_bias", "mlp_bias"}) {
    if (f.flag(bias, false))
      fail("{}: {} is true; linears with a bias are not supported yet", f.what(), bias);
  }
  return c;
}

void require_activation(const Fields& f, std::string_view field, std::string_view known) {
  const std::string name = f.text(field, known);
  if (name != known) fail("{}: {} is \"{}\"; supported: {}", f.what(), field, printable(name), known);
}

ModelConfig llama(const Fields& f) {
  ModelConfig c = common(f);
  c.architecture = "llama";
  c.tied_head = f.flag("tie_word_embeddings", false);
  require_activation(f, "hidden_act", "silu");
  c.ropes = {rope_of_model(f, c.head_dim, 10000)};
  return c;
}

ModelConfig qwen3(const Fields& f) {
  ModelConfig c = common(f);
  c.architecture = "qwen3";
  c.qk_norm = true;
  c.tied_head = f.flag("tie_word_embeddings", false);
  require_activation(f, "hidden_act", "silu");
  if (f.flag("use_sliding_window", false))
    fail("{}: use_sliding_window is true; not supported for qwen3 yet", f.what());
  c.ropes = {rope_of_model(f, c.head_dim, 10000)};
  return c;
}

// One flag a layer, from "layer_types", or in the older form from a period.
std::vector<bool> windowed_layers(const Fields& f, size_t layers) {
  std::vector<bool> windowed(layers);
  const json::value* types = f.find("layer_types");
  if (types == nullptr) {
    const auto period = static_cast<size_t>(f.count("sliding_window_pattern", 6));
    for (size_t i = 0; i < layers; ++i) windowed[i] = (i + 1) % period != 0;
    return windowed;
  }
  if (!types->is_array() || types->get_array().size() != layers) {
    fail("{}: layer_types must list one type for each of the {} layers", f.what(), layers);
  }
  for (size_t i = 0; i < layers; ++i) {
    const json::value& type = types->get_array()[i];
    if (type == "sliding_attention") {
      windowed[i] = true;
    } else if (type != "full_attention") {
      fail("{}: layer_types[{}] is unknown; known: full_attention, sliding_attention", f.what(), i);
    }
  }
  return windowed;
}

std::vector<RopeConfig> gemma3_ropes(const Fields& f, int head_dim) {
  if (const auto parameters = f.object("rope_parameters")) {
    const auto full = parameters->object("full_attention"), sliding = parameters->object("sliding_attention");
    if (!full || !sliding) fail("{}: rope_parameters needs full_attention and sliding_attention", f.what());
    return {rope_from(*full, head_dim, full->positive("rope_theta", 1e6)),
            rope_from(*sliding, head_dim, sliding->positive("rope_theta", 10000))};
  }
  return {rope_of_model(f, head_dim, 1e6), plain_rope(head_dim, f.positive("rope_local_base_freq", 10000))};
}

ModelConfig gemma3(const Fields& f) {
  ModelConfig c = common(f);
  c.architecture = "gemma3";
  c.qk_norm = c.post_norms = c.norm_plus_one = true;
  c.tied_head = f.flag("tie_word_embeddings", true);
  c.activation = Activation::kGeluTanh;
  require_activation(f, "hidden_activation", "gelu_pytorch_tanh");
  c.embedding_scale = std::sqrt(static_cast<float>(c.hidden));
  c.attention_scale = static_cast<float>(1 / std::sqrt(f.positive("query_pre_attn_scalar", 256)));
  c.attention_soft_cap = static_cast<float>(f.number("attn_logit_softcapping").value_or(0));
  c.final_soft_cap = static_cast<float>(f.number("final_logit_softcapping").value_or(0));
  if (f.flag("use_bidirectional_attention", false)) {
    fail("{}: use_bidirectional_attention is true; only causal attention is supported", f.what());
  }
  c.ropes = gemma3_ropes(f, c.head_dim);
  const int window = f.count("sliding_window", 4096);
  const std::vector<bool> windowed = windowed_layers(f, c.layers.size());
  for (size_t i = 0; i < c.layers.size(); ++i) {
    if (windowed[i]) c.layers[i] = {window, 1};
  }
  return c;
}

struct Architecture {
  std::string_view model_type;
  ModelConfig (*read)(const Fields&);
};

constexpr std::array<Architecture, 3> kArchitectures = {
    {{"gemma3_text", gemma3}, {"llama", llama}, {"qwen3", qwen3}}};

}  // namespace

ModelConfig config_from_json(const json::object& object, std::string_view what) {
  const Fields fields(object, std::string(what));
  const std::string type = fields.text("model_type", "");
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.model_type != type) continue;
    ModelConfig config = architecture.read(fields);
    validate(config, what);
    return config;
  }
  std::string known;
  for (const Architecture& architecture : kArchitectures)
    known += fmt::format(" {}", architecture.model_type);
  fail("{}: model_type is \"{}\"; known:{}", what, printable(type), known);
}

}  // namespace chorus
