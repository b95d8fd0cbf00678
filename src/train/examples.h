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
  std::vector<DataFormat> formats;  // of the files
  std::vector<Example> examples;
  std::vector<DataProblem> problems;
};

// Reads files and the data files of directories (*.jsonl, *.json, *.csv, *.txt; sorted, not recursive).
// Error: a path that is missing or unreadable, a file whose form is none of the above (it says what was seen
// and what would be right), no record at all. A bad record among good ones is a problem, not an Error.
Dataset read_dataset(const std::vector<std::string>& paths);

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
};

struct TokenizeOptions {
  TrainOn train_on = TrainOn::kAssistant;
  int max_tokens = 2048;
};

// Renders with the model's chat template and finds the assistant's tokens by rendering the conversation up to
// and from each turn, not by marker strings; the end mark that the template puts after a turn is learned too.
// `chat_template` may be null if no example needs it. Error: the template cannot render it, or renders a turn
// differently when more follow so that no prefix agrees; "what" names file and line.
TokenizedExample tokenize_example(const Example& example, const Tokenizer& tokenizer,
                                  const ChatTemplate* chat_template, const TokenizeOptions& options,
                                  std::string_view what);

}  // namespace chorus
