#pragma once

#include <span>
#include <string>
#include <vector>

#include "server/completion.h"
#include "server/openai_response.h"

namespace chorus {

// "data: {...}\n\n"
void append_event(const json::value& data, std::string& out);

// A streamed answer as server-sent events ("data: {...}\n\n"), in OpenAI's form: for each choice a first
// event with its role (or, with `echo`, the prompt), its text in pieces, and one with the finish reason; then
// the usage where it was asked for, and "[DONE]".
class StreamEvents {
 public:
  // `api` and `tokenizer` must outlive it.
  StreamEvents(const ApiRequest& api, ResponseId id, const Tokenizer& tokenizer);

  // Appends to `out` what a sample's text grew by: `piece` is what Completion::push() just returned.
  void push(const Completion& completion, size_t prompt, int sample, std::string_view piece,
            std::string& out);
  // When all samples are done and none failed.
  void finish(std::span<const Completion> completions, std::string& out) const;
  // In place of what is still to come.
  static void fail(const ApiError& error, std::string& out);

 private:
  struct Choice {
    bool begun = false, ended = false;
    size_t logged = 0;   // tokens whose log-probabilities were sent, those of the prompt before the others
    int64_t offset = 0;  // characters that these stand for
  };
  void emit(json::object choice, std::string& out) const;
  json::value new_logprobs(const Completion& completion, const CompletionSample& sample,
                           Choice& choice) const;
  json::object piece_of(size_t index, std::string_view text, json::value logprobs) const;

  const ApiRequest& api_;
  const ResponseId id_;
  const Tokenizer& tokenizer_;
  std::vector<Choice> choices_;
};

}  // namespace chorus
