#include "formats/chat_template.h"
#include "formats/json.h"
#include "formats/tokenizer.h"
#include "fuzz_target.h"
#include "train/data_file.h"
#include "train/data_split.h"

namespace chorus {
namespace {

constexpr std::string_view kExtensions[] = {".jsonl", ".csv", ".txt"};
constexpr std::string_view kTemplate =
    "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";

const Tokenizer& tokenizer() {
  static const Tokenizer loaded = [] {
    const std::string path = CHORUS_SOURCE_DIR "/tests/golden/tokenizer/llama2";
    return Tokenizer::from_json(read_json_file(path + ".json"), read_json_file(path + ".config.json"), path);
  }();
  return loaded;
}

void require_one_line(std::string_view text) { require(!text.empty() && text.find('\n') == text.npos); }

void check_example(const Example& example, const Dataset& set) {
  require(example.file == 0 && example.line >= 1 && set.files.size() == 1);
  require(example.messages.empty() != example.text.empty());
  require(example.messages.empty() || example.messages.back().at("role") == "assistant");
}

void check_sequence(const TokenizedExample& sequence, const TokenizeOptions& options) {
  require(sequence.tokens.size() <= static_cast<size_t>(options.max_tokens));
  require(sequence.label.size() == sequence.tokens.size());
  int labels = 0;
  for (const uint8_t label : sequence.label) labels += label;
  require(labels == sequence.labels);
  require(sequence.label.empty() || sequence.label[0] == 0);
}

}  // namespace
}  // namespace chorus

// The first byte chooses what the rest is: JSON records, CSV or text. Whatever is read becomes good examples,
// and these sequences; the rest is problems of one line each.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace chorus;
  if (size == 0) return 0;
  DataFile file;
  file.path = "data";
  try {
    read_data(file, text_of(data + 1, size - 1), kExtensions[data[0] % std::size(kExtensions)]);
  } catch (const Error& error) {
    require_one_line(error.what());
    return 0;
  }
  for (const DataProblem& problem : file.problems) require_one_line(problem.what);
  Dataset set;
  set.files = {file.path};
  set.examples = std::move(file.examples);
  for (const Example& example : set.examples) check_example(example, set);
  static const ChatTemplate chat_template(kTemplate);
  const TokenizeOptions options{TrainOn::kAssistant, 64};
  const TokenizedDataset tokens = tokenize_dataset(set, tokenizer(), &chat_template, options);
  for (const DataProblem& problem : tokens.problems) require_one_line(problem.what);
  for (const TokenizedExample& sequence : tokens.examples) check_sequence(sequence, options);
  const Split split = split_validation(content_keys(set, tokens), 0.3, 1);
  require(split.train.size() + split.validation.size() == tokens.examples.size());
  return 0;
}
