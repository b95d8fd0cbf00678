#include "server/answer.h"

#include <utility>

namespace chorus {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

void answer_error(HttpExchange& exchange, const ApiError& error) {
  HttpHeaders headers;
  if (error.status == 429 || error.status == 503) headers.emplace_back("Retry-After", "1");
  exchange.answer(error.status, "application/json",
                  json::serialize(json::object{{"error", error_object(error)}}), std::move(headers));
}

Answer::Answer(ApiRequest api, AnswerContext context, const Tokenizer& tokenizer)
    : api_(std::move(api)), context_(std::move(context)), tokenizer_(tokenizer) {
  size_t choices = 0;
  for (size_t i = 0; i < api_.prompts.size(); ++i) {
    completions_.emplace_back(api_, i, tokenizer_);
    choices += static_cast<size_t>(api_.prompts[i].request.samples);
  }
  last_token_.resize(choices);
  if (api_.stream) stream_.emplace(api_, context_.id, tokenizer_);
}

HttpHeaders Answer::headers() const {
  if (context_.adapter_header.empty()) return {};
  return {{"x-adapter-id", context_.adapter_header}};
}

void Answer::record(size_t prompt, const TokenEvent& event) {
  if (event.token < 0) return;
  const Clock::time_point now = Clock::now();
  const size_t choice =
      prompt * static_cast<size_t>(api_.prompts[prompt].request.samples) + static_cast<size_t>(event.sample);
  Clock::time_point& last = last_token_[choice];
  if (last == Clock::time_point()) {
    context_.series->queued(event.queue_seconds);
    context_.series->first_token(seconds_between(context_.arrived, now));
  } else {
    context_.series->inter_token(seconds_between(last, now));
  }
  last = now;
}

void Answer::push(size_t prompt, const TokenEvent& event) {
  if (over_) return;
  record(prompt, event);
  Completion& completion = completions_[prompt];
  const std::string piece = completion.push(event);
  if (const auto error = completion.error()) {
    fail(*error);
  } else if (stream_) {
    stream_->push(completion, prompt, event.sample, piece, pending_);
  }
}

void Answer::flush() {
  if (over_) return;
  const bool done =
      std::ranges::all_of(completions_, [](const Completion& completion) { return completion.done(); });
  if (done && stream_) stream_->finish(completions_, pending_);
  if (!pending_.empty()) {
    if (!std::exchange(begun_, true)) {
      HttpHeaders head = headers();
      head.emplace_back("cache-control", "no-cache");
      context_.exchange->begin(200, "text/event-stream", std::move(head));
    }
    context_.exchange->write(std::exchange(pending_, {}));
  }
  if (done) finish();
}

void Answer::finish() {
  over_ = true;
  if (stream_) {
    context_.exchange->end();
  } else {
    context_.exchange->answer(200, "application/json",
                              json::serialize(response_body(api_, completions_, context_.id, tokenizer_)),
                              headers());
  }
  record_end(completions_.back().samples().back().finish);
  context_.slot.reset();
}

void Answer::record_end(FinishReason reason) {
  int prompt = 0, cached = 0, output = 0;
  for (const Completion& completion : completions_) {
    prompt += static_cast<int>(completion.prompt().request.prompt.size());
    cached += completion.samples()[0].cached_tokens;
    output += completion.sampled_tokens();
  }
  context_.series->finished(reason, prompt, cached, output, seconds_between(context_.arrived, Clock::now()));
}

void Answer::fail(const ApiError& error) {
  if (std::exchange(over_, true)) return;
  record_end(error.status == 499   ? FinishReason::kCancelled
             : error.status == 503 ? FinishReason::kExpired
                                   : FinishReason::kError);
  if (begun_) {
    StreamEvents::fail(error, pending_);
    context_.exchange->write(std::exchange(pending_, {}));
    context_.exchange->end();
  } else {
    answer_error(*context_.exchange, error);
  }
  context_.slot.reset();
}

}  // namespace chorus
