#include "server/chorus_answer.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace chorus {
namespace {

using Clock = std::chrono::steady_clock;

// Of batch events: often enough to look alive, seldom enough to cost nothing.
constexpr std::chrono::milliseconds kMeasureEvery{100};

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

double rounded(double value) { return std::round(value * 100) / 100; }

}  // namespace

ChorusAnswer::ChorusAnswer(std::vector<ChorusVoice> voices, bool stream,
                           std::shared_ptr<HttpExchange> exchange, ResponseId id, Clock::time_point arrived,
                           std::shared_ptr<void> slot, const Engine& engine, const Tokenizer& tokenizer)
    : stream_(stream),
      exchange_(std::move(exchange)),
      id_(std::move(id)),
      arrived_(arrived),
      slot_(std::move(slot)),
      engine_(engine) {
  for (ChorusVoice& voice : voices) voices_.emplace_back(std::move(voice), tokenizer, arrived_);
  begun_at_ = measured_ = read();
}

std::vector<Request> ChorusAnswer::requests() const {
  std::vector<Request> requests;
  for (const Voice& voice : voices_) requests.push_back(voice.of.api.prompts[0].request);
  return requests;
}

std::optional<size_t> ChorusAnswer::find_voice(std::string_view name) const {
  const auto found = std::ranges::find(voices_, name, [](const Voice& voice) { return voice.of.name; });
  if (found == voices_.end()) return std::nullopt;
  return static_cast<size_t>(found - voices_.begin());
}

bool ChorusAnswer::idle_work(size_t index) const {
  const Completion& completion = voices_[index].completion;
  return completion.done() && !completion.ended();
}

ChorusAnswer::Reading ChorusAnswer::read() const {
  const EngineStats stats = engine_.stats();
  Reading now{Clock::now(), stats.steps, stats.rows, 0};
  for (const Voice& voice : voices_) now.tokens += voice.completion.sampled_tokens();
  return now;
}

json::object ChorusAnswer::batch_object(const Reading& from, const Reading& to) const {
  const double seconds = seconds_between(from.time, to.time);
  const auto steps = static_cast<double>(to.steps - from.steps);
  return {{"rows", rounded(static_cast<double>(to.rows - from.rows) / std::max(steps, 1.0))},
          {"step_ms", rounded(1e3 * seconds / std::max(steps, 1.0))},
          {"steps", to.steps - from.steps},
          {"tokens_per_second", rounded((to.tokens - from.tokens) / std::max(seconds, 1e-9))}};
}

json::object ChorusAnswer::done_object(const Voice& voice) const {
  const CompletionSample& sample = voice.completion.samples()[0];
  const bool stopped = sample.finish == FinishReason::kCancelled;
  const double first = voice.times.first_token(), seconds = seconds_between(arrived_, voice.end);
  json::object object{
      {"finish_reason", stopped ? "stopped" : finish_reason_name(sample)},
      {"usage", usage_object({&voice.completion, 1})},
      {"model", voice.of.api.wanted.model},
      {"seed", voice.of.api.prompts[0].request.sampling.seed},
      {"adapter", voice.of.adapter.empty() ? json::value(nullptr) : json::value(voice.of.adapter)},
      {"first_token_ms", rounded(1e3 * first)},
      {"tokens_per_second", rounded(sample.tokens > 1 ? (sample.tokens - 1) / (seconds - first) : 0)}};
  if (const auto error = voice.completion.error(); error && !stopped) {
    object["finish_reason"] = "error";
    object["error"] = error_object(*error);
  }
  return object;
}

void ChorusAnswer::end(Voice& voice) {
  voice.ended = true;
  voice.end = Clock::now();
  record_end(*voice.of.series, voice.completion.samples()[0].finish, {&voice.completion, 1}, arrived_);
  if (!stream_) return;
  json::object event{{"voice", voice.of.name}, {"done", true}};
  for (auto& [name, value] : done_object(voice)) event[name] = std::move(value);
  append_event(event, pending_);
}

void ChorusAnswer::push(size_t index, const TokenEvent& event) {
  if (over_) return;
  Voice& voice = voices_[index];
  if (voice.ended) return;
  voice.times.record(event);
  const std::string piece = voice.completion.push(event);
  if (stream_ && !piece.empty()) append_event({{"voice", voice.of.name}, {"delta", piece}}, pending_);
  if (voice.completion.done() || voice.completion.error()) end(voice);
}

// What the steps have been since the last time, if there were any.
void ChorusAnswer::measure() {
  const Clock::time_point now = Clock::now();
  if (now - measured_.time < kMeasureEvery) return;
  const Reading reading = read();
  if (reading.steps == measured_.steps) return;
  append_event({{"batch", batch_object(measured_, reading)}}, pending_);
  measured_ = reading;
}

void ChorusAnswer::flush() {
  if (over_) return;
  const bool done = std::ranges::all_of(voices_, &Voice::ended);
  if (stream_ && !done) measure();
  if (done) return finish();
  if (pending_.empty()) return;
  begin();
  exchange_->write(std::exchange(pending_, {}));
}

// The stream's head, and what comes before everything else.
void ChorusAnswer::begin() {
  if (std::exchange(begun_, true)) return;
  exchange_->begin(200, "text/event-stream", {{"cache-control", "no-cache"}});
  std::string first;
  append_event({{"id", id()}}, first);
  pending_.insert(0, first);
}

void ChorusAnswer::finish() {
  over_ = true;
  const Reading now = read();
  json::object batch = batch_object(begun_at_, now);
  batch["final"] = true;
  batch["tokens"] = now.tokens;
  batch["seconds"] = rounded(1e3 * seconds_between(begun_at_.time, now.time)) / 1e3;
  if (stream_) {
    append_event({{"batch", std::move(batch)}}, pending_);
    pending_ += "data: [DONE]\n\n";
    begin();
    exchange_->write(std::exchange(pending_, {}));
    exchange_->end();
  } else {
    json::array voices;
    for (const Voice& voice : voices_) {
      json::object object{{"name", voice.of.name}, {"text", voice.completion.samples()[0].text}};
      for (auto& [name, value] : done_object(voice)) object[name] = std::move(value);
      voices.push_back(std::move(object));
    }
    exchange_->answer(200, "application/json",
                      json::serialize(json::object{{"id", id()},
                                                   {"object", "chorus"},
                                                   {"created", id_.created},
                                                   {"voices", std::move(voices)},
                                                   {"batch", std::move(batch)}}));
  }
  slot_.reset();
}

void ChorusAnswer::fail(const ApiError& error) {
  if (std::exchange(over_, true)) return;
  for (Voice& voice : voices_) {
    if (!voice.ended) record_end(*voice.of.series, finish_reason(error), {&voice.completion, 1}, arrived_);
  }
  if (begun_) {
    StreamEvents::fail(error, pending_);
    exchange_->write(std::exchange(pending_, {}));
    exchange_->end();
  } else {
    answer_error(*exchange_, error);
  }
  slot_.reset();
}

}  // namespace chorus
