#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "http/http_server.h"
#include "server/completion.h"
#include "server/metrics.h"
#include "server/receiver.h"
#include "server/stream_events.h"

namespace chorus {

// What an answer is given besides its request.
struct AnswerContext {
  std::shared_ptr<HttpExchange> exchange;
  ResponseId id;
  std::string adapter_header;  // "x-adapter-id": names and content hashes
  std::chrono::steady_clock::time_point arrived;
  Series* series = nullptr;
  std::shared_ptr<void> slot;  // held until the answer is over
};

// When the tokens of one choice come, for its series.
class TokenTimes {
 public:
  TokenTimes(Series& series, std::chrono::steady_clock::time_point arrived)
      : series_(&series), arrived_(arrived) {}
  void record(const TokenEvent& event);
  double first_token() const { return first_token_; }  // seconds since the request came; 0: none yet

 private:
  Series* series_;
  std::chrono::steady_clock::time_point arrived_, last_ = {};
  double first_token_ = 0;
};

// One API request on its way: its completions, and the client that waits for them. A stream's head goes out
// with its first event, so that until then an error can have its own status.
class Answer : public Receiver {
 public:
  Answer(ApiRequest api, AnswerContext context, const Tokenizer& tokenizer);

  const ApiRequest& api() const { return api_; }
  std::vector<Request> requests() const override;
  HttpExchange& exchange() override { return *context_.exchange; }
  void push(size_t prompt, const TokenEvent& event) override;
  void flush() override;
  void fail(const ApiError& error) override;
  bool over() const override { return over_; }
  bool done(size_t prompt) const override { return completions_[prompt].done(); }
  bool idle_work(size_t prompt) const override {
    return completions_[prompt].done() && !completions_[prompt].ended();
  }

 private:
  void finish();
  HttpHeaders headers() const;

  const ApiRequest api_;
  AnswerContext context_;
  const Tokenizer& tokenizer_;
  std::vector<Completion> completions_;
  std::optional<StreamEvents> stream_;
  std::string pending_;
  bool begun_ = false, over_ = false;
  std::vector<TokenTimes> times_;  // by choice
};

// What a request is counted as that has ended with this error.
FinishReason finish_reason(const ApiError& error);
// Sums of a request's completions go to its series.
void record_end(Series& series, FinishReason reason, std::span<const Completion> completions,
                std::chrono::steady_clock::time_point arrived);

// Sends {"error": ...}; with Retry-After where the client should come again.
void answer_error(HttpExchange& exchange, const ApiError& error);

}  // namespace chorus
