#include <iostream>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "engine/text_files.h"

namespace chorus {
namespace {

struct TokenizeOptions {
  std::string model, text;
  bool add_special = false, plain = false, json = false;
};

int tokenize(const TokenizeOptions& options) {
  const TextFiles files = load_text_files(model_path(options.model));
  const std::vector<int32_t> ids = files.tokenizer.encode(
      options.text, {.add_special = options.add_special, .parse_special = !options.plain});
  if (!options.json) {
    std::cout << fmt::format("{}\n", fmt::join(ids, " "));
    return 0;
  }
  json::array tokens;
  for (const int32_t id : ids)
    tokens.push_back(json::string(printable(files.tokenizer.token_bytes(id), 1024)));
  const json::object document = {{"ids", json::value_from(ids)}, {"tokens", tokens}};
  std::cout << json::serialize(document) << '\n';
  return 0;
}

}  // namespace

void add_tokenize_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("tokenize", "Print a text's token ids");
  command->footer("Example: chorus tokenize smollm2 \"One base, many voices\"");
  auto options = std::make_shared<TokenizeOptions>();
  command->add_option("MODEL", options->model, "GGUF file, Hugging Face directory, or a name in the cache")
      ->required();
  command->add_option("TEXT", options->text)->required();
  command->add_flag("--add-special", options->add_special, "With BOS and EOS as the model's settings ask");
  command->add_flag("--plain", options->plain, "Text such as <|im_end|> is plain text, not a control token");
  command->add_flag("--json", options->json);
  command->callback([=, &exit_code] { exit_code = tokenize(*options); });
}

}  // namespace chorus
