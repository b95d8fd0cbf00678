#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "base/error.h"
#include "base/mapped_file.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "engine/evaluate.h"

namespace chorus {
namespace {

struct EvalOptions {
  ModelFlags model;
  std::string text, use, logits;
  bool json = false;
};

constexpr size_t kMaxText = size_t{256} << 20;

// Writes the logits of every position of the one sequence being scored, f32 [positions, vocab], in order of
// position.
class LogitsFile {
 public:
  explicit LogitsFile(const std::string& path) : path_(path), file_(std::fopen(path.c_str(), "wb")) {
    if (file_ == nullptr) fail("{}: cannot be written", printable(path, 300));
  }
  ~LogitsFile() {
    if (file_ != nullptr) std::fclose(file_);
  }
  LogitsFile(const LogitsFile&) = delete;
  void add(const Batch& batch, std::span<const float> logits) {
    const size_t vocab = batch.logit_rows.empty() ? 0 : logits.size() / batch.logit_rows.size();
    for (size_t i = 0; i < batch.logit_rows.size(); ++i) {
      const auto position = static_cast<size_t>(batch.positions[static_cast<size_t>(batch.logit_rows[i])]);
      const long offset = static_cast<long>(position * vocab * sizeof(float));
      const float* row = logits.data() + i * vocab;
      if (std::fseek(file_, offset, SEEK_SET) != 0 ||
          std::fwrite(row, sizeof(float), vocab, file_) != vocab) {
        fail("{}: cannot write (disk full?)", printable(path_, 300));
      }
    }
  }

 private:
  std::string path_;
  FILE* file_;
};

int eval(const EvalOptions& options) {
  RuntimeOptions runtime_options;
  std::shared_ptr<LogitsFile> logits;
  if (!options.logits.empty()) {
    logits = std::make_shared<LogitsFile>(options.logits);
    runtime_options.observer = [logits](const Batch& batch, std::span<const float> rows) {
      logits->add(batch, rows);
    };
  }
  const std::string content = read_file(options.text, kMaxText);
  const std::unique_ptr<Runtime> runtime = open_runtime(options.model, runtime_options);
  const bool chats = options.text.ends_with(".jsonl");
  if (chats && logits != nullptr) fail("--logits needs a text, not {}", printable(options.text));
  const std::vector<ScoredText> texts = chats ? scored_chats(*runtime, content, options.use, options.text)
                                              : std::vector{scored_text(*runtime, content)};
  const bool terminal = isatty(STDERR_FILENO) != 0;
  const Score score = evaluate(*runtime, texts, options.use, [&](size_t done) {
    if (terminal && texts.size() > 1) std::fprintf(stderr, "\r%zu/%zu", done, texts.size());
  });
  if (terminal && texts.size() > 1) std::fputs("\r", stderr);
  if (options.json) {
    const json::object document = {
        {"tokens", score.tokens}, {"nll", score.nll}, {"perplexity", score.perplexity()}};
    std::cout << json::serialize(document) << '\n';
  } else {
    std::cout << fmt::format("{} tokens, {:.5f} nats per token, perplexity {:.4f}\n", score.tokens, score.nll,
                             score.perplexity());
  }
  return 0;
}

}  // namespace

void add_eval_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("eval", "Perplexity of a text, or held-out loss of chats");
  command->footer("Example: chorus eval smollm2 adapters/elf/heldout.jsonl --adapters adapters --use elf");
  auto options = std::make_shared<EvalOptions>();
  add_model_flags(*command, options->model);
  command->add_option("TEXT", options->text, "A text file, or chats as .jsonl, whose last turns are scored")
      ->required();
  command->add_option("--use", options->use, "Adapter or mix: NAME[@SCALE][+NAME[@SCALE]]...");
  command->add_option("--logits", options->logits, "Also write all logits of the text, f32 [tokens, vocab]");
  command->add_flag("--json", options->json);
  command->callback([=, &exit_code] { exit_code = eval(*options); });
}

}  // namespace chorus
