#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/text_stream.h"
#include "server/openai_request.h"

namespace chorus {

// A token with what the model thought of it.
struct LoggedToken {
  int32_t token = -1;
  std::optional<float> logprob;   // none: the first token of a prompt
  std::vector<TokenLogprob> top;  // likeliest first
};

// One sample's answer so far.
struct CompletionSample {
  std::string text;                           // without the calls
  std::vector<LoggedToken> logged;            // with logprobs: the tokens that were sampled, all of them
  int tokens = 0;                             // sampled, up to the one that ended it
  FinishReason finish = FinishReason::kNone;  // kStop also for a stop string
  std::vector<ToolCall> calls;                // known when it has finished
  int cached_tokens = 0;                      // of the prompt, that were not computed again
};

// Collects the events of one engine request into the answers of its samples. The answers depend on the
// sampled tokens only, not on when a cancellation took effect.
class Completion {
 public:
  // `api.prompts[prompt]` is the request. `api` and `tokenizer` must outlive this.
  Completion(const ApiRequest& api, size_t prompt, const Tokenizer& tokenizer);

  // Takes an event of this request; returns the text that it adds to its sample, which may be empty. Events
  // after the end of a sample change nothing.
  std::string push(const TokenEvent& event);

  // Every sample has its answer. If the engine has not ended by itself, cancel the request.
  bool done() const { return open_ == 0; }
  bool ended() const { return running_ == 0; }  // the engine sends no more events

  // Why there is no answer: a sample failed or was cancelled from outside; nothing while all is well.
  std::optional<ApiError> error() const;

  const ApiPrompt& prompt() const { return prompt_; }
  const std::vector<CompletionSample>& samples() const { return samples_; }
  const std::vector<LoggedToken>& prompt_tokens() const { return prompt_tokens_; }  // with prompt_logprobs
  int sampled_tokens() const;

 private:
  struct Progress {
    TextStream stream;
    std::optional<ToolCallReader> tools;
    bool ended = false;  // the engine's last event of it has come
  };
  void log(std::vector<LoggedToken>& to, const TokenEvent& event) const;
  void finish(CompletionSample& sample, FinishReason reason);

  const ApiPrompt& prompt_;
  bool logprobs_;
  size_t prompt_events_ = 0;  // still to come
  std::vector<LoggedToken> prompt_tokens_;
  std::vector<CompletionSample> samples_;
  std::vector<Progress> progress_;
  size_t open_, running_;
  std::string problem_;
};

}  // namespace chorus
