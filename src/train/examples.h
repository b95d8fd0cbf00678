#pragma once

// Training data as people have it: files -> conversations or plain texts -> tokens with labels. The form of a
// file is told from what is in it, never registered.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/chat_template.h"
#include "formats/json.h"
#include "formats/tokenizer.h"

namespace chorus {

// How a file's records were read: {"messages"} (OpenAI chat), {"prompt", "completion"}, {"instruction",
// "input", "output"} (Alpaca), {"conversations": [{"from", "value"}]} (ShareGPT), {"text"} or plain text, and
// CSV with a header of those names.
enum class DataFormat : uint8_t { kChat, kCompletion, kAlpaca, kShareGpt, kText, kCsv };
std::string_view name_of(DataFormat format);

// One record. Either turns, or a text that is learned whole.
struct Example {
  json::array messages;  // [{"role", "content"}], ends with an assistant's turn; empty: `text` counts
  json::array tools;     // of a chat record that has them
  std::string text;
  bool templated =
      true;      // false: a prompt and completion to be joined as they are, without the chat template
  int file = 0;  // index into Dataset::files
  int line = 0;  // 1-based, where the record begins
};

// What is wrong with a record, "FILE:LINE: ...". The record is left out.
struct DataProblem {
  std::string where;
  std::string what;
};

struct Dataset {
  std::vector<std::string> files;
  std::vector<DataFormat> formats;  // of the files: that of the first good record
  std::vector<Example> examples;
  std::vector<DataProblem> problems;  // of each file the first kMaxProblems
  int64_t problem_count = 0;          // all of them
};

// A record of more bytes, or a conversation of more turns, is a problem.
constexpr size_t kMaxRecordBytes = size_t{16} << 20, kMaxTurns = 1024;
constexpr size_t kMaxProblems = 1000;

// Reads files and the data files of directories (*.jsonl, *.json, *.csv, *.txt; sorted, not recursive).
// Error: a path that is missing or unreadable, a file whose form is none of the above (it says what was seen
// and what would be right), no record at all. A bad record among good ones is a problem, not an Error.
Dataset read_dataset(const std::vector<std::string>& paths);

// Puts the files, examples and problems of `more` behind those of `dataset`.
void append_dataset(Dataset& dataset, Dataset more);

enum class TrainOn : uint8_t {
  kAssistant,  // every turn of the assistant
  kLast,       // the last one
  kAll         // every token
};

// tokens[i] for i with label[i] is to be predicted from those before it; label[0] is false.
struct TokenizedExample {
  std::vector<int32_t> tokens;
  std::vector<uint8_t> label;  // as long as tokens
  int labels = 0;              // how many are set
  bool truncated = false;      // was longer than max_tokens: cut at its end
  int file = 0, line = 0;
  int example = 0;  // index into Dataset::examples; several may be of one
};

struct TokenizeOptions {
  TrainOn train_on = TrainOn::kAssistant;
  int max_tokens = 2048;
};

// One sequence of one example. Renders with the model's chat template and finds the assistant's tokens by
// rendering the conversation up to and from each turn, not by marker strings; the end mark that the template
// puts after a turn is learned too. The last answer is encoded apart from all before it, which is encoded at
// once: as it is served. A token that straddles the bounds of an earlier answer belongs to where it begins.
// `chat_template` may be null if no example needs it. Error: the template cannot render it, or renders a turn
// differently when more follow so that no prefix agrees; "what" names file and line.
TokenizedExample tokenize_example(const Example& example, const Tokenizer& tokenizer,
                                  const ChatTemplate* chat_template, const TokenizeOptions& options,
                                  std::string_view what);

// The sequences of a dataset. What tokenize_example refuses is left out with its reason.
struct TokenizedDataset {
  std::vector<TokenizedExample> examples;
  std::vector<DataProblem> problems;  // the first kMaxProblems
  int64_t problem_count = 0;
  int split = 0;  // examples that became a sequence for each answer
};

// All examples, as tokenize_example, but nothing is lost: a text longer than max_tokens becomes several
// sequences, and a conversation whose template renders earlier turns differently (it drops their reasoning)
// becomes one for each answer, as each would be served.
TokenizedDataset tokenize_dataset(const Dataset& dataset, const Tokenizer& tokenizer,
                                  const ChatTemplate* chat_template, const TokenizeOptions& options);

}  // namespace chorus
