// GGUF LoRA files as llama.cpp's convert_lora_to_gguf.py writes them: general.type "adapter", adapter.type
// "lora", adapter.lora.alpha (0: the scale is 1), and for each weight X of the base the tensors X.lora_a
// [rank, in] and X.lora_b [out, rank].

#include <charconv>
#include <cmath>

#include "base/error.h"
#include "model/adapter_file.h"

namespace chorus {
namespace {

// "blk.3.attn_q.weight" or "output.weight".
std::optional<ModulePlace> place_of(std::string_view weight) {
  if (weight == "output.weight") return ModulePlace{0, Target::kHead};
  if (!weight.starts_with("blk.") || !weight.ends_with(".weight")) return std::nullopt;
  weight = weight.substr(4, weight.size() - 4 - 7);
  int layer = 0;
  const auto [end, error] = std::from_chars(weight.data(), weight.data() + weight.size(), layer);
  if (error != std::errc() || layer < 0 || layer >= kMaxLayers) return std::nullopt;
  weight.remove_prefix(static_cast<size_t>(end - weight.data()));
  for (int t = 0; t < kLayerTargets; ++t) {
    const auto target = static_cast<Target>(t);
    if (weight == fmt::format(".{}", target_info(target).gguf_name)) return ModulePlace{layer, target};
  }
  return std::nullopt;
}

// The keys that are hints for people. Error: one that changes what the adapter means and that we do not know.
std::vector<std::string> hints_of(const GgufFile& file) {
  std::vector<std::string> hints;
  for (const auto& [key, value] : file.metadata()) {
    if (!key.starts_with("adapter.") || key == "adapter.type" || key == "adapter.lora.alpha") continue;
    if (key != "adapter.lora.prompt_prefix" && key != "adapter.lora.task_name")
      fail("{}: {} is not supported", file.path(), printable(key));
    hints.push_back(key);
  }
  return hints;
}

}  // namespace

AdapterFile read_gguf_adapter(const FileRoot& root, const std::string& path) {
  AdapterFile adapter;
  adapter.path = path;
  adapter.format = "GGUF";
  adapter.gguf = std::make_unique<GgufFile>(GgufFile::open({root.open(path), MappedFile::Access::kCopy}));
  const GgufFile& file = *adapter.gguf;
  if (file.string_or("general.type", "") != "adapter") {
    fail("{}: general.type is not \"adapter\": this GGUF file is no LoRA adapter", path);
  }
  if (file.string("adapter.type") != "lora") {
    fail("{}: adapter.type is \"{}\"; \"lora\" is supported", path, printable(file.string("adapter.type")));
  }
  adapter.hints = hints_of(file);
  adapter.architecture = file.string("general.architecture");
  adapter.permuted_qk = gguf_permutes_qk(adapter.architecture);
  adapter.alpha = file.number("adapter.lora.alpha");
  if (!(std::abs(adapter.alpha) < 1e6))
    fail("{}: adapter.lora.alpha is {}; it is out of range", path, adapter.alpha);
  PairCollector pairs(path);
  for (const FileTensor& tensor : file.tensors()) {
    const std::string_view name = tensor.name;
    const bool is_a = name.ends_with(".lora_a"), is_b = name.ends_with(".lora_b");
    const std::optional<ModulePlace> place =
        is_a || is_b ? place_of(name.substr(0, name.size() - 7)) : std::nullopt;
    if (!place) fail("{}: tensor {} adapts no linear that is supported", path, printable(name));
    pairs.add(place->layer, place->target, is_a, tensor);
  }
  adapter.base = {.name = file.string_or(kGgufBaseName, ""),
                  .id = file.string_or(kBaseKey, ""),
                  .chat_template = file.string_or(kChatTemplateKey, "")};
  adapter.pairs = pairs.finish();
  for (FilePair& pair : adapter.pairs) {
    const auto rank = static_cast<double>(pair.a->shape[0]);
    pair.scale = adapter.alpha == 0 ? 1.0f : static_cast<float>(adapter.alpha / rank);
  }
  return adapter;
}

}  // namespace chorus
