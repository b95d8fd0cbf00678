#pragma once

// An engine over the fake model, and what its answers must be: computed from each request alone.

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <thread>
#include <utility>

#include "engine/engine.h"
#include "engine/fake_model.h"

namespace chorus {

struct Output {
  std::vector<int32_t> tokens;  // prompt log-probability events first, then the sampled ones
  std::vector<float> logprobs;
  FinishReason finish = FinishReason::kNone;
  std::string error;
  int finishes = 0;
  float queue_seconds = 0;  // as its events say, of which only the first token's does
};

inline EngineConfig small_config() {
  EngineConfig config;
  config.model_id = "fake";
  config.vocab = 40;
  config.context_length = 160;
  config.pages = 64;
  config.max_rows = 48;
  config.max_sequences = 12;
  config.max_queue = 100000;
  config.prefill_chunk = 24;
  config.max_prompt_logprob_rows = 7;
  return config;
}

// The answer to a request by itself: no pages, no batch, no scheduler.
inline Output expected_output(const Request& request, int sample, int vocab) {
  Output output;
  Sampler sampler(vocab, 20);
  std::vector<float> logits(static_cast<size_t>(vocab));
  const uint64_t adapters = adapters_hash(request.adapters);
  std::vector<int32_t> tokens = request.prompt;
  for (size_t i = 1; request.prompt_logprobs && sample == 0 && i < tokens.size(); ++i) {
    fill_logits(context_of(std::span(tokens).first(i), adapters), logits);
    output.tokens.push_back(tokens[i]);
    output.logprobs.push_back(sampler.score(logits, tokens[i], 0).logprob);
  }
  output.finish = FinishReason::kLength;
  std::optional<ConstraintState> constraint;
  if (request.constraint != nullptr) constraint.emplace(request.constraint);
  for (int i = 0; i < request.max_tokens; ++i) {
    fill_logits(context_of(tokens, adapters), logits);
    SampleArgs args;
    args.logits = logits;
    args.params = &request.sampling;
    args.prompt = request.prompt;
    args.output = std::span(tokens).subspan(request.prompt.size());
    if (i < request.min_tokens && !request.ignore_stop_ids) args.banned = request.stop_ids;
    while (constraint && !constraint->ready()) std::this_thread::yield();
    if (constraint) args.allowed = constraint->mask();
    args.sample = sample;
    args.position = static_cast<int>(tokens.size());
    const Sampled sampled = sampler.sample(args);
    tokens.push_back(sampled.token);
    output.tokens.push_back(sampled.token);
    output.logprobs.push_back(sampled.logprob);
    const auto& stops = request.stop_ids;
    if (!request.ignore_stop_ids && std::find(stops.begin(), stops.end(), sampled.token) != stops.end()) {
      output.finish = FinishReason::kStop;
      break;
    }
    if (constraint && constraint->is_stop(sampled.token)) {
      output.finish = FinishReason::kStop;
      break;
    }
    if (constraint) constraint->advance(sampled.token);
  }
  return output;
}

class Harness {
 public:
  explicit Harness(EngineConfig config = small_config())
      : model(config.vocab, config.pages),
        engine(with_poison(std::move(config)), [this](const Batch& batch, auto logits) {
          check_limits(batch);
          if (before_forward) before_forward(batch);
          model.forward(batch, logits);
          if (after_forward) after_forward(batch, logits);
        }) {}

  uint64_t submit(const Request& request) {
    const uint64_t id = engine.submit(request);
    requests[id] = request;
    return id;
  }

  bool step() {
    const bool worked = engine.step([this](const TokenEvent& event) { record(event); });
    const EngineStats stats = engine.stats();
    EXPECT_EQ(stats.pages_free + stats.pages_cached + stats.pages_used, engine.config().pages);
    EXPECT_EQ(model.broken, 0);
    return worked;
  }

  // What step() does with its events, for who drives the engine otherwise.
  void record(const TokenEvent& event) {
    Output& output = outputs[{event.request, event.sample}];
    EXPECT_EQ(output.finishes, 0) << "an event after the last";
    if (event.token >= 0) {
      output.tokens.push_back(event.token);
      output.logprobs.push_back(event.logprob);
      output.queue_seconds += event.queue_seconds;
    }
    if (event.finish == FinishReason::kNone) return;
    ++output.finishes;
    output.finish = event.finish;
    output.error = event.error;
  }

  // Until everything has ended; fails if a step does nothing or it takes too long.
  void drain(int max_steps = 200000) {
    for (int i = 0; !engine.idle(); ++i) {
      ASSERT_LT(i, max_steps) << "does not end";
      const bool worked = step();
      ASSERT_TRUE(worked || engine.idle()) << "nothing runs though sequences wait";
    }
    EXPECT_EQ(engine.stats().pages_used, 0);
  }

  const Output& output(uint64_t id, int sample = 0) { return outputs[{id, sample}]; }

  // Every sample ended once, and said what the request alone says (a cancelled one: the beginning of it).
  void check_all() {
    for (const auto& [id, request] : requests) {
      for (int i = 0; i < request.samples; ++i) check(id, request, i);
    }
  }

  FakeModel model;
  std::function<void(const Batch&)> before_forward;
  std::function<void(const Batch&, std::span<float>)> after_forward;
  Engine engine;
  std::map<uint64_t, Request> requests;
  std::map<std::pair<uint64_t, int>, Output> outputs;

 private:
  EngineConfig with_poison(EngineConfig config) {
    config.on_page_freed = [this](int32_t page) { model.poison(page); };
    return config;
  }

  void check_limits(const Batch& batch) {
    const EngineConfig& config = engine.config();
    EXPECT_LE(batch.rows(), config.max_rows);
    EXPECT_LE(batch.sequences.size(), static_cast<size_t>(config.max_sequences));
    EXPECT_LE(batch.logit_rows.size(), static_cast<size_t>(config.max_logit_rows()));
    EXPECT_LE(batch.segments.size(), static_cast<size_t>(config.max_segments()));
  }

  void check(uint64_t id, const Request& request, int sample) {
    const Output& got = output(id, sample);
    const Output want = expected_output(request, sample, engine.config().vocab);
    ASSERT_EQ(got.finishes, 1) << "request " << id;
    if (got.finish == FinishReason::kCancelled) {
      ASSERT_LE(got.tokens.size(), want.tokens.size());
      ASSERT_TRUE(std::equal(got.tokens.begin(), got.tokens.end(), want.tokens.begin()));
      return;
    }
    ASSERT_EQ(got.tokens, want.tokens) << "request " << id << " sample " << sample;
    ASSERT_EQ(got.logprobs, want.logprobs) << "request " << id << " sample " << sample;
    ASSERT_EQ(got.finish, want.finish) << "request " << id;
  }
};

// Requests of all kinds, many with a common beginning.
class RequestMaker {
 public:
  explicit RequestMaker(uint32_t seed, int vocab = 40) : random_(seed), vocab_(vocab) {
    for (int i = 0; i < 5; ++i) adapters_.push_back(fake_adapter("adapter" + std::to_string(i)));
    for (int i = 0; i < 6; ++i) stems_.push_back(tokens(below(70)));
  }

  int below(int n) { return static_cast<int>(random_() % static_cast<uint32_t>(n)); }

  Request make() {
    Request r;
    r.prompt = stems_[static_cast<size_t>(below(6))];
    for (const int32_t t : tokens(1 + below(20))) r.prompt.push_back(t);
    if (below(4) == 0) r.prompt = stems_[0].empty() ? r.prompt : stems_[0];
    const int mix = std::max(0, below(5) - 1);
    for (int i = 0; i < mix; ++i)
      r.adapters.push_back({adapters_[static_cast<size_t>(below(5))], below(2) == 0 ? 1.0f : 0.5f});
    r.max_tokens = 1 + below(40);
    r.samples = below(4) == 0 ? 1 + below(3) : 1;
    r.tenant = below(3) == 0 ? "b" : "";
    if (below(3) == 0) r.stop_ids = tokens(2);
    if (below(3) == 0) r.min_tokens = below(r.max_tokens);
    r.ignore_stop_ids = below(8) == 0;
    r.prompt_logprobs = below(6) == 0;
    if (r.prompt_logprobs && r.samples == 1 && below(2) == 0) r.max_tokens = r.min_tokens = 0;
    set_sampling(r.sampling);
    return r;
  }

 private:
  void set_sampling(SamplingParams& s) {
    s.temperature = below(2) == 0 ? 0 : 0.8f;
    s.top_k = below(3) == 0 ? 10 : 0;
    s.top_p = below(3) == 0 ? 0.9f : 1;
    s.min_p = below(4) == 0 ? 0.05f : 0;
    s.repetition_penalty = below(4) == 0 ? 1.2f : 1;
    s.frequency_penalty = below(4) == 0 ? 0.5f : 0;
    if (below(5) == 0) s.logit_bias = {{below(vocab_), 3.0f}};
    s.seed = random_();
    s.top_logprobs = below(4) - 1;
  }

  std::vector<int32_t> tokens(int count) {
    std::vector<int32_t> result(static_cast<size_t>(count));
    for (int32_t& token : result) token = below(vocab_);
    return result;
  }

  std::mt19937 random_;
  int vocab_;
  std::vector<AdapterHandle> adapters_;
  std::vector<std::vector<int32_t>> stems_;
};

}  // namespace chorus
