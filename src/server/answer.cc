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
  times_.assign(choices, TokenTimes(*context_.series, context_.arrived));
  if (api_.stream) stream_.emplace(api_, context_.id, tokenizer_);
}

HttpHeaders Answer::headers() const {
  if (context_.adapter_header.empty()) return {};
  return {{"x-adapter-id", context_.adapter_header}};
}

std::vector<Request> Answer::requests() const {
  std::vector<Request> requests;
  for (const ApiPrompt& prompt : api_.prompts) requests.push_back(prompt.request);
  return requests;
}

void TokenTimes::record(const TokenEvent& event) {
  if (event.token < 0) return;
  const Clock::time_point now = Clock::now();
  if (last_ == Clock::time_point()) {
    first_token_ = seconds_between(arrived_, now);
    series_->queued(event.queue_seconds);
    series_->first_token(first_token_);
  } else {
    series_->inter_token(seconds_between(last_, now));
  }
  last_ = now;
}

void Answer::push(size_t prompt, const TokenEvent& event) {
  if (over_) return;
  times_[prompt * static_cast<size_t>(api_.prompts[prompt].request.samples) +
         static_cast<size_t>(event.sample)]
      .record(event);
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
  record_end(*context_.series, completions_.back().samples().back().finish, completions_, context_.arrived);
  context_.slot.reset();
}

void record_end(Series& series, FinishReason reason, std::span<const Completion> completions,
                Clock::time_point arrived) {
  int prompt = 0, cached = 0, output = 0;
  for (const Completion& completion : completions) {
    prompt += static_cast<int>(completion.prompt().request.prompt.size());
    cached += completion.samples()[0].cached_tokens;
    output += completion.sampled_tokens();
  }
  series.finished(reason, prompt, cached, output, seconds_between(arrived, Clock::now()));
}

FinishReason finish_reason(const ApiError& error) {
  if (error.status == 499) return FinishReason::kCancelled;
  return error.status == 503 ? FinishReason::kExpired : FinishReason::kError;
}

void Answer::fail(const ApiError& error) {
  if (std::exchange(over_, true)) return;
  record_end(*context_.series, finish_reason(error), completions_, context_.arrived);
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
