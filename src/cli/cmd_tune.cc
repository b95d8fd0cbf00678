#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "engine/text_files.h"
#include "train/data_doctor.h"

namespace chorus {
namespace {

struct TuneOptions {
  std::string model, train_on = "assistant";
  std::vector<std::string> data, validation;
  double validation_share = 0;
  uint64_t seed = 0;
  int max_tokens = 2048;
  bool check = false, json = false;
};

TrainOn train_on_named(const std::string& name) {
  if (name == "all") return TrainOn::kAll;
  return name == "last" ? TrainOn::kLast : TrainOn::kAssistant;
}

// https://no-color.org: set and not empty.
bool wants_colour() {
  const char* no_colour = std::getenv("NO_COLOR");
  return isatty(STDOUT_FILENO) != 0 && (no_colour == nullptr || *no_colour == '\0');
}

DoctorReport check_data(const TuneOptions& options) {
  const TextFiles text = load_text_files(model_path(options.model));
  const TokenizeOptions tokenize{train_on_named(options.train_on), options.max_tokens};
  Dataset dataset = read_dataset(options.data);
  const int first_validation_file = static_cast<int>(dataset.files.size());
  if (!options.validation.empty()) append_dataset(dataset, read_dataset(options.validation));
  const ChatTemplate* chat_template = text.chat_template ? &*text.chat_template : nullptr;
  const TokenizedDataset tokens = tokenize_dataset(dataset, text.tokenizer, chat_template, tokenize);
  const std::vector<ContentKeys> keys = content_keys(dataset, tokens);
  const Split split = options.validation_share > 0
                          ? split_validation(keys, options.validation_share, options.seed)
                          : split_by_file(tokens, first_validation_file);
  const bool wants_validation = options.validation_share > 0 || !options.validation.empty();
  return examine({dataset, tokens, split, keys, text.tokenizer, tokenize, wants_validation});
}

int tune(const TuneOptions& options) {
  if (!options.check) fail("tune: only --check yet: the training itself is being built in");
  const DoctorReport report = check_data(options);
  if (options.json) {
    std::cout << json::serialize(report_json(report)) << '\n';
  } else {
    std::cout << report_text(report, wants_colour());
  }
  return report.verdict() == Verdict::kStop ? 1 : 0;
}

}  // namespace

void add_tune_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("tune", "Tune a LoRA adapter on your data");
  command->footer("Example: chorus tune smollm2 adapters/elf/data.jsonl --check --val-split 0.1");
  auto options = std::make_shared<TuneOptions>();
  command->add_option("MODEL", options->model, "GGUF file, Hugging Face directory, or a name in the cache")
      ->required();
  command
      ->add_option("DATA", options->data,
                   "JSONL, JSON, CSV or text files, or directories of them; what they hold is found out")
      ->required();
  command->add_flag("--check", options->check, "Look at the data and report; do not tune");
  auto* share =
      command->add_option("--val-split", options->validation_share, "Hold back this share for validation")
          ->check(number_in(0, 0.9));
  command->add_option("--val", options->validation, "Validate on this file or directory; may be repeated")
      ->type_name("FILE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->excludes(share);
  command
      ->add_option("--train-on", options->train_on,
                   "What is learned: every turn of the assistant, the last one, or all tokens")
      ->check(CLI::IsMember({"assistant", "last", "all"}))
      ->capture_default_str();
  command->add_option("--max-tokens", options->max_tokens, "Longest sequence")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  command->add_option("--seed", options->seed, "Of all that is left to chance")->capture_default_str();
  command->add_flag("--json", options->json);
  command->callback([=, &exit_code] { exit_code = tune(*options); });
}

}  // namespace chorus
