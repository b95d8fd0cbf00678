#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "http/http_server.h"
#include "server/completion.h"
#include "server/metrics.h"
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

// One API request on its way: its completions, and the client that waits for them. Used by one thread at a
// time, which Delivery sees to.
class Answer {
 public:
  Answer(ApiRequest api, AnswerContext context, const Tokenizer& tokenizer);

  const ApiRequest& api() const { return api_; }
  HttpExchange& exchange() { return *context_.exchange; }

  // Takes an event of prompt `prompt`. What it adds to a stream waits for flush().
  void push(size_t prompt, const TokenEvent& event);
  // Sends what push() has gathered, and the end of the answer when all of it is there. A stream's head goes
  // out with its first event, so that until then an error can have its own status.
  void flush();
  // The client's answer is this error, or ends with it.
  void fail(const ApiError& error);

  bool over() const { return over_; }  // nothing more is sent
  // Whether the engine still works for this prompt in vain.
  bool idle_work(size_t prompt) const { return completions_[prompt].done() && !completions_[prompt].ended(); }

  std::vector<uint64_t> ids;  // the engine's, of the prompts submitted
  bool touched = false;       // Delivery's mark

 private:
  void record(size_t prompt, const TokenEvent& event);
  void record_end(FinishReason reason);
  void finish();
  HttpHeaders headers() const;

  const ApiRequest api_;
  AnswerContext context_;
  const Tokenizer& tokenizer_;
  std::vector<Completion> completions_;
  std::optional<StreamEvents> stream_;
  std::string pending_;
  bool begun_ = false, over_ = false;
  std::vector<std::chrono::steady_clock::time_point> last_token_;  // by choice
};

// Sends {"error": ...}; with Retry-After where the client should come again.
void answer_error(HttpExchange& exchange, const ApiError& error);

}  // namespace chorus
