// GGUF metadata -> ModelConfig. Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and, for
// Gemma 3, llama.cpp's gguf-py/gguf/constants.py.

#include <array>
#include <cmath>

#include "base/error.h"
#include "formats/gguf.h"
#include "formats/quant_blocks.h"
#include "model/config.h"
#include "model/rope.h"

namespace chorus {
namespace {

constexpr int64_t kMaxCount = 1 << 24;

// Reads "<architecture>.<key>".
class Keys {
 public:
  Keys(const GgufFile& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}
  std::string key(std::string_view name) const { return fmt::format("{}.{}", prefix_, name); }
  int count(std::string_view name) const { return static_cast<int>(file_.integer(key(name), 1, kMaxCount)); }
  int count_or(std::string_view name, int fallback) const {
    return static_cast<int>(file_.integer_or(key(name), fallback, 0, kMaxCount));
  }
  double number_or(std::string_view name, double fallback) const {
    const double value = file_.number_or(key(name), fallback);
    if (!(value > 0)) fail("{}: {} is {}; it must be above 0", file_.path(), key(name), value);
    return value;
  }
  bool has(std::string_view name) const { return file_.find_value(key(name)) != nullptr; }
  const GgufFile& file() const { return file_; }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

ModelConfig common(const Keys& keys) {
  const GgufFile& file = keys.file();
  if (const std::string type = file.string_or("general.type", "model"); type != "model") {
    fail("{}: general.type is \"{}\"; a \"model\" is needed", file.path(), printable(type));
  }
  ModelConfig c;
  c.architecture = file.string("general.architecture");
  c.name = file.string_or("general.name", c.architecture);
  c.hidden = keys.count("embedding_length");
  c.ffn = keys.count("feed_forward_length");
  c.heads = keys.count("attention.head_count");
  c.kv_heads = keys.count_or("attention.head_count_kv", c.heads);
  c.head_dim = keys.count_or("attention.key_length", c.hidden / c.heads);
  if (keys.count_or("attention.value_length", c.head_dim) != c.head_dim) {
    fail("{}: {} differs from the key length {}; equal ones are supported", file.path(),
         keys.key("attention.value_length"), c.head_dim);
  }
  if (keys.count_or("rope.dimension_count", c.head_dim) != c.head_dim) {
    fail("{}: {} differs from the head dimension {}; only whole heads can be rotated", file.path(),
         keys.key("rope.dimension_count"), c.head_dim);
  }
  c.context_length = keys.count_or("context_length", 4096);
  c.norm_eps = static_cast<float>(file.number(keys.key("attention.layer_norm_rms_epsilon")));
  c.attention_scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  c.layers.resize(static_cast<size_t>(file.integer(keys.key("block_count"), 1, 1024)));
  const FileTensor* embedding = file.find("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) {
    fail("{}: tensor token_embd.weight is missing or not a matrix", file.path());
  }
  if (embedding->shape[0] > static_cast<uint64_t>(kMaxCount)) {
    fail("{}: token_embd.weight has {} rows; at most {}", file.path(), embedding->shape[0], kMaxCount);
  }
  c.vocab = static_cast<int>(embedding->shape[0]);
  c.tied_head = file.find("output.weight") == nullptr;
  return c;
}

// rope_freqs.weight carries Llama 3.1's scaling as one divisor per frequency.
RopeConfig rope_from(const Keys& keys, int head_dim, double base) {
  const GgufFile& file = keys.file();
  if (const FileTensor* factors = file.find("rope_freqs.weight")) {
    if (factors->type != DType::kF32 ||
        factors->shape != std::vector<uint64_t>{static_cast<uint64_t>(head_dim) / 2}) {
      fail("{}: rope_freqs.weight must be F32 [{}]", file.path(), head_dim / 2);
    }
    std::vector<float> values(static_cast<size_t>(head_dim) / 2);
    dequantize(DType::kF32, factors->data, values);
    for (const float value : values) {
      if (!(value > 0) || !std::isfinite(value)) fail("{}: rope_freqs.weight holds {}", file.path(), value);
    }
    return divided_rope(head_dim, base, values);
  }
  const std::string kind = file.string_or(keys.key("rope.scaling.type"), "none");
  if (kind == "none") return plain_rope(head_dim, base);
  if (kind == "linear") return linear_rope(head_dim, base, keys.number_or("rope.scaling.factor", 1));
  fail("{}: {} is \"{}\"; known: none, linear, and Llama 3's rope_freqs.weight", file.path(),
       keys.key("rope.scaling.type"), printable(kind));
}

ModelConfig llama(const Keys& keys) {
  ModelConfig c = common(keys);
  c.permuted_qk = true;
  c.ropes = {rope_from(keys, c.head_dim, keys.number_or("rope.freq_base", 10000))};
  return c;
}

ModelConfig qwen3(const Keys& keys) {
  ModelConfig c = common(keys);
  c.qk_norm = true;
  c.ropes = {rope_from(keys, c.head_dim, keys.number_or("rope.freq_base", 1e6))};
  return c;
}

// Which layers see a window: all but every sixth, unless the file has its own pattern (a period, or one flag
// a layer).
std::vector<bool> windowed_layers(const Keys& keys, size_t layers) {
  const std::string key = keys.key("attention.sliding_window_pattern");
  const GgufValue* value = keys.file().find_value(key);
  std::vector<bool> windowed(layers);
  if (value != nullptr && std::holds_alternative<GgufArray>(*value)) {
    const std::vector<int64_t>& flags = keys.file().integers(key);
    if (flags.size() != layers)
      fail("{}: {} has {} entries for {} layers", keys.file().path(), key, flags.size(), layers);
    for (size_t i = 0; i < layers; ++i) windowed[i] = flags[i] != 0;
    return windowed;
  }
  const auto period = static_cast<size_t>(keys.file().integer_or(key, 6, 1, 1024));
  for (size_t i = 0; i < layers; ++i) windowed[i] = (i + 1) % period != 0;
  return windowed;
}

ModelConfig gemma3(const Keys& keys) {
  ModelConfig c = common(keys);
  c.qk_norm = true;
  c.post_norms = true;
  c.activation = Activation::kGeluTanh;
  c.embedding_scale = std::sqrt(static_cast<float>(c.hidden));
  // The 27B model alone scales by its hidden size per head, and the file has no key for it.
  if (c.layers.size() == 62)
    c.attention_scale = 1.0f / std::sqrt(static_cast<float>(c.hidden) / static_cast<float>(c.heads));
  const auto cap = [&](std::string_view name) {
    return keys.has(name) ? static_cast<float>(keys.number_or(name, 1)) : 0.0f;
  };
  c.attention_soft_cap = cap("attn_logit_softcapping");
  c.final_soft_cap = cap("final_logit_softcapping");
  c.ropes = {rope_from(keys, c.head_dim, keys.number_or("rope.freq_base", 1e6)),
             plain_rope(c.head_dim, keys.number_or("rope.freq_base_swa", 10000))};
  const int window = keys.count("attention.sliding_window");
  const std::vector<bool> windowed = windowed_layers(keys, c.layers.size());
  for (size_t i = 0; i < c.layers.size(); ++i) {
    if (windowed[i]) c.layers[i] = {window, 1};
  }
  return c;
}

struct Architecture {
  std::string_view name;
  ModelConfig (*read)(const Keys&);
};

constexpr std::array<Architecture, 3> kArchitectures = {
    {{"gemma3", gemma3}, {"llama", llama}, {"qwen3", qwen3}}};

}  // namespace

ModelConfig config_from_gguf(const GgufFile& file) {
  const std::string& name = file.string("general.architecture");
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.name != name) continue;
    ModelConfig config = architecture.read(Keys(file, name));
    validate(config, file.path());
    return config;
  }
  std::string known;
  for (const Architecture& architecture : kArchitectures) known += fmt::format(" {}", architecture.name);
  fail("{}: general.architecture is \"{}\"; known:{}", file.path(), printable(name), known);
}

}  // namespace chorus
