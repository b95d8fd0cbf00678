#include <cstdio>
#include <iostream>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "engine/text_files.h"
#include "model/adapter_convert.h"
#include "model/packed_cache.h"
#include "model/tensor_source.h"

namespace chorus {
namespace {

struct ConvertOptions {
  std::string adapter, out, to;
  RuntimeFlags runtime;
  bool json = false;
};

AdapterFormat format_of(const ConvertOptions& options) {
  if (options.to.empty()) return options.out.ends_with(".gguf") ? AdapterFormat::kGguf : AdapterFormat::kPeft;
  return options.to == "gguf" ? AdapterFormat::kGguf : AdapterFormat::kPeft;
}

Model open_model(const ConvertOptions& options, ThreadTeam& team) {
  TensorSource source = TensorSource::open(model_path(options.runtime.model));
  PackedCache cache{.directory = packed_cache(options.runtime), .problem = {}};
  return load_model(source, team, cache);
}

int convert(ConvertOptions& options) {
  while (options.out.size() > 1 && options.out.ends_with('/')) options.out.pop_back();
  const AdapterFile adapter = read_adapter_file(FileRoot(), options.adapter);
  const AdapterFormat format = format_of(options);
  ThreadTeam team(options.runtime.threads);
  const Model model = open_model(options, team);
  const ConversionCheck check = convert_adapter(adapter, options.out, format, model, team);
  for (const std::string& hint : adapter.hints)
    std::fprintf(stderr, "chorus: %s is left behind\n", hint.c_str());
  if (FileRoot().is_directory(options.adapter) && load_chat_template(FileRoot(), options.adapter)) {
    std::fprintf(stderr, "chorus: %s has a chat template of its own, which %s does not: keep its files\n",
                 printable(options.adapter, 300).c_str(), printable(options.out, 300).c_str());
  }
  if (options.json) {
    const json::object document = {{"from", adapter.format},
                                   {"to", format == AdapterFormat::kGguf ? "GGUF" : "PEFT"},
                                   {"path", options.out},
                                   {"tokens", check.tokens},
                                   {"largest_difference", check.difference},
                                   {"adapter_effect", check.effect},
                                   {"largest_logit", check.largest}};
    std::cout << json::serialize(document) << '\n';
  } else {
    std::cout << fmt::format(
        "{}: on {} tokens its logits are at most {:.3g} from the original's; the adapter moves the base's by "
        "up to {:.3g}\n",
        options.out, check.tokens, check.difference, check.effect);
  }
  return 0;
}

}  // namespace

void add_convert_command(CLI::App& app, int& exit_code) {
  CLI::App* command =
      app.add_subcommand("convert", "Write an adapter in another format, and compare the two");
  command->footer("Example: chorus convert adapters/elf elf.gguf --model smollm2");
  auto options = std::make_shared<ConvertOptions>();
  command->add_option("ADAPTER", options->adapter, "A PEFT or MLX directory, or a GGUF LoRA file")
      ->required();
  command->add_option("OUT", options->out, "Where it goes; nothing may be there yet")->required();
  command
      ->add_option("--to", options->to,
                   "A PEFT directory, or a GGUF LoRA file; by default as OUT's name ends")
      ->check(CLI::IsMember({"peft", "gguf"}));
  command
      ->add_option("--model", options->runtime.model,
                   "The base: a model file, directory, or name in the cache")
      ->required();
  command->add_option("--threads", options->runtime.threads, "Threads; 0: one per physical core")
      ->check(CLI::Range(0, 256));
  command->add_flag(
      "--no-cache", options->runtime.no_cache,
      "Do not keep the packed model in the cache for the next start, nor use one that is there");
  command->add_flag("--json", options->json);
  command->callback([=, &exit_code] { exit_code = convert(*options); });
}

}  // namespace chorus
