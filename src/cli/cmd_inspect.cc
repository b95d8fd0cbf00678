#include <filesystem>
#include <iostream>
#include <map>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "engine/adapter_loader.h"
#include "engine/text_files.h"
#include "model/adapter_io.h"
#include "model/tensor_source.h"
#include "model/weights.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

struct InspectOptions {
  std::string path, model;
  bool json = false;
};

bool is_adapter(const std::string& path) {
  if (fs::is_directory(path)) return fs::exists(path + "/adapter_config.json");
  return GgufFile::open(path).string_or("general.type", "") == "adapter";
}

json::object describe_adapter(const std::string& path, const std::string& model) {
  const AdapterSummary summary = summarize_adapter(path);
  json::object document = {{"kind", "adapter"},
                           {"format", summary.format},
                           {"min_rank", summary.min_rank},
                           {"max_rank", summary.max_rank},
                           {"alpha", summary.alpha},
                           {"rslora", summary.rslora},
                           {"dora", summary.dora},
                           {"tensors", summary.tensors},
                           {"bytes", summary.bytes},
                           {"layers", summary.layers},
                           {"targets", json::value_from(summary.targets)}};
  const auto add = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) document[name] = printable(value, 300);
  };
  add("base_name", summary.base.name);
  add("base", summary.base.id);
  add("chat_template", summary.base.chat_template);
  if (model.empty()) return document;
  const TensorSource source = TensorSource::open(model_path(model));
  const PackedSize packed = check_adapter(read_adapter_file(FileRoot(), path), source.config());
  std::optional<ChatTemplate> own;
  if (fs::is_directory(path)) own = load_chat_template(FileRoot(), path);
  const AdapterBase now = {.name = "",
                           .id = model_id(source),
                           .chat_template = template_hash(own ? std::move(own) : load_chat_template(source))};
  document["fits"] = model;
  document["warnings"] = json::value_from(base_warnings(summary.base, now));
  document["id"] = packed.id;
  document["bytes_in_memory"] = packed.bytes;
  return document;
}

json::object describe_model(const std::string& path) {
  const TensorSource source = TensorSource::open(path);
  const ModelConfig& c = source.config();
  std::map<std::string, int64_t> types;
  int64_t parameters = 0;
  uint64_t bytes = 0;
  for (const FileTensor* tensor : source.sorted()) {
    int64_t count = 1;
    for (const uint64_t dim : tensor->shape) count *= static_cast<int64_t>(dim);
    types[std::string(dtype_info(tensor->type).name)] += count;
    parameters += count;
    bytes += tensor->data.size();
  }
  return {{"kind", "model"},
          {"format", source.is_gguf() ? "GGUF" : "Hugging Face"},
          {"architecture", c.architecture},
          {"name", c.name},
          {"parameters", parameters},
          {"bytes", bytes},
          {"layers", c.layers.size()},
          {"hidden", c.hidden},
          {"heads", c.heads},
          {"kv_heads", c.kv_heads},
          {"head_dim", c.head_dim},
          {"mlp", c.ffn},
          {"vocab", c.vocab},
          {"context_length", c.context_length},
          {"parameters_by_type", json::value_from(types)}};
}

int inspect(const InspectOptions& options) {
  const std::string path = model_path(options.path);
  const bool adapter = is_adapter(path);
  if (!adapter && !options.model.empty()) {
    fail("{}: a model; only an adapter can fit --model", printable(path, 300));
  }
  const json::object document = adapter ? describe_adapter(path, options.model) : describe_model(path);
  if (options.json) {
    std::cout << json::serialize(document) << '\n';
    return 0;
  }
  for (const auto& [key, value] : document) {
    const std::string text = value.is_string() ? std::string(value.get_string()) : json::serialize(value);
    std::cout << fmt::format("{:<20}{}\n", std::string_view(key), text);
  }
  return 0;
}

}  // namespace

void add_inspect_command(CLI::App& app, int& exit_code) {
  CLI::App* command =
      app.add_subcommand("inspect", "Show what a model or adapter holds, and whether an adapter fits");
  command->footer("Example: chorus inspect adapters/elf --model smollm2");
  auto options = std::make_shared<InspectOptions>();
  command->add_option("PATH", options->path, "A model or an adapter: GGUF file or directory")->required();
  command->add_option("--model", options->model, "Load the adapter for this model and say whether it fits");
  command->add_flag("--json", options->json);
  command->callback([=, &exit_code] { exit_code = inspect(*options); });
}

}  // namespace chorus
