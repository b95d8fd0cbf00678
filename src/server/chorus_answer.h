#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "server/answer.h"

namespace chorus {

// A voice whose request has been read.
struct ChorusVoice {
  std::string name;
  ApiRequest api;       // of one prompt and one sample
  std::string adapter;  // names and content hashes; empty: the base
  Series* series = nullptr;
};

// Many voices over one prompt, answered together. As a stream:
//   {"id"}                                                    first; names it for POST /v1/chorus/stop
//   {"voice", "delta"}                                        text, whole characters
//   {"voice", "done": true, "finish_reason", "usage", "model", "seed", "adapter", "first_token_ms",
//    "tokens_per_second"}                                     once for each; with "error" where it failed;
//                                                             one that was ended by a request is "stopped"
//   {"batch": {"rows", "step_ms", "steps", "tokens_per_second"}}    what the engine did since the last such
//                                                             event, whoever it was for: means of its steps
//   {"batch": {..., "final": true, "tokens", "seconds"}}      over all, before [DONE]
// tokens_per_second of a batch is that of these voices.
class ChorusAnswer : public Receiver {
 public:
  // The engine and tokenizer must outlive it.
  ChorusAnswer(std::vector<ChorusVoice> voices, bool stream, std::shared_ptr<HttpExchange> exchange,
               ResponseId id, std::chrono::steady_clock::time_point arrived, std::shared_ptr<void> slot,
               const Engine& engine, const Tokenizer& tokenizer);

  std::string id() const { return "chorus-" + id_.id; }
  std::optional<size_t> find_voice(std::string_view name) const;

  std::vector<Request> requests() const override;
  HttpExchange& exchange() override { return *exchange_; }
  void push(size_t voice, const TokenEvent& event) override;
  void flush() override;
  void fail(const ApiError& error) override;
  bool over() const override { return over_; }
  bool done(size_t voice) const override { return voices_[voice].ended; }
  bool idle_work(size_t voice) const override;

 private:
  struct Voice {
    ChorusVoice of;
    Completion completion;
    TokenTimes times;
    bool ended = false;
    std::chrono::steady_clock::time_point end = {};

    Voice(ChorusVoice voice, const Tokenizer& tokenizer, std::chrono::steady_clock::time_point arrived)
        : of(std::move(voice)), completion(of.api, 0, tokenizer), times(*of.series, arrived) {}
  };
  // The engine's counts at a time.
  struct Reading {
    std::chrono::steady_clock::time_point time;
    uint64_t steps = 0, rows = 0;
    int tokens = 0;  // of these voices
  };
  Reading read() const;
  json::object batch_object(const Reading& from, const Reading& to) const;
  json::object done_object(const Voice& voice) const;
  void end(Voice& voice);
  void begin();
  void measure();
  void finish();

  std::deque<Voice> voices_;  // they stay where they are
  const bool stream_;
  std::shared_ptr<HttpExchange> exchange_;
  const ResponseId id_;
  const std::chrono::steady_clock::time_point arrived_;
  std::shared_ptr<void> slot_;  // held until the answer is over
  const Engine& engine_;
  Reading begun_at_, measured_;
  std::string pending_;
  bool begun_ = false, over_ = false;
};

}  // namespace chorus
