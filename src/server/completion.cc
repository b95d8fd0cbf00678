#include "server/completion.h"

#include <utility>

namespace chorus {

Completion::Completion(const ApiRequest& api, size_t prompt, const Tokenizer& tokenizer)
    : prompt_(api.prompts.at(prompt)),
      logprobs_(api.logprobs),
      samples_(static_cast<size_t>(prompt_.request.samples)),
      open_(samples_.size()),
      running_(samples_.size()) {
  for (size_t i = 0; i < samples_.size(); ++i) {
    Progress& progress = progress_.emplace_back(TextStream(tokenizer, api.stop));
    if (api.tools.offered()) progress.tools.emplace(api.tools, api.dialect, api.prompt_calls);
  }
  const Request& request = prompt_.request;
  if (request.prompt_logprobs) {
    prompt_events_ = request.prompt.size() - 1;
    prompt_tokens_.push_back({request.prompt[0], std::nullopt, {}});
  }
}

std::string Completion::push(const TokenEvent& event) {
  const size_t index = static_cast<size_t>(event.sample);
  CompletionSample& sample = samples_.at(index);
  Progress& progress = progress_[index];
  if (event.finish != FinishReason::kNone && !std::exchange(progress.ended, true)) --running_;
  if (event.token >= 0 && event.sample == 0 && prompt_events_ > 0) {
    --prompt_events_;
    log(prompt_tokens_, event);
    return {};
  }
  if (sample.finish != FinishReason::kNone) return {};

  std::string piece;
  if (event.token >= 0) {
    if (sample.tokens++ == 0) sample.cached_tokens = event.prefix_hit_tokens;
    if (logprobs_) log(sample.logged, event);
    // The token of a stop id ends the text and is no part of it.
    if (event.finish != FinishReason::kStop) piece = progress.stream.push(event.token);
  }
  FinishReason reason = event.finish;
  if (reason != FinishReason::kNone) piece += progress.stream.finish();
  if (progress.stream.stopped()) reason = FinishReason::kStop;
  if (progress.tools) piece = progress.tools->push(piece);
  if (progress.tools && reason != FinishReason::kNone) {
    piece += progress.tools->finish();
    sample.calls = progress.tools->calls();
  }
  if (reason == FinishReason::kError) problem_ = printable(event.error, 300);
  if (reason != FinishReason::kNone) finish(sample, reason);
  sample.text += piece;
  return piece;
}

void Completion::log(std::vector<LoggedToken>& to, const TokenEvent& event) const {
  to.push_back({event.token, event.logprob, event.top});
}

void Completion::finish(CompletionSample& sample, FinishReason reason) {
  sample.finish = reason;
  --open_;
}

std::optional<ApiError> Completion::error() const {
  for (const CompletionSample& sample : samples_) {
    if (sample.finish == FinishReason::kError)
      return ApiError(500, "server_error", "the model failed on this request: " + problem_);
    if (sample.finish == FinishReason::kExpired)
      return ApiError(503, "unavailable_error", "the request waited too long in the queue; try again later");
    if (sample.finish == FinishReason::kCancelled)
      return ApiError(499, "cancelled_error", "the request was cancelled");
  }
  return std::nullopt;
}

int Completion::sampled_tokens() const {
  int sum = 0;
  for (const CompletionSample& sample : samples_) sum += sample.tokens;
  return sum;
}

}  // namespace chorus
