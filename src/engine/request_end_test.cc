// Requests that end before their last token, by their deadline or by cancel(), in every state they can be in:
// their pages come back and nobody else's answer changes. Time is the test's.

#include <gtest/gtest.h>

#include "engine/engine_test_harness.h"

namespace chorus {
namespace {

using std::chrono::seconds;

// Requests of `prompt` tokens that have no block in common.
struct Scene {
  explicit Scene(EngineConfig config = small_config()) : harness(with_clock(std::move(config))) {}

  Request request(int prompt, int max_tokens) {
    Request r;
    for (int i = 0; i < prompt; ++i) r.prompt.push_back(static_cast<int32_t>(random() % 40));
    r.max_tokens = max_tokens;
    r.sampling.temperature = 0.7f;
    r.sampling.seed = random();
    return r;
  }
  uint64_t add(int prompt, int max_tokens) { return harness.submit(request(prompt, max_tokens)); }
  uint64_t add_until(int prompt, int max_tokens, seconds left) {
    Request r = request(prompt, max_tokens);
    r.deadline = time + left;
    return harness.submit(r);
  }

  void steps(int count) {
    for (int i = 0; i < count; ++i) harness.step();
  }
  EngineStats stats() const { return harness.engine.stats(); }
  size_t tokens(uint64_t id) { return harness.output(id).tokens.size(); }
  FinishReason finish(uint64_t id) { return harness.output(id).finish; }

  // It has ended so, without a token; the others are checked by drain().
  void expect_expired(uint64_t id) {
    EXPECT_EQ(finish(id), FinishReason::kExpired);
    EXPECT_EQ(harness.output(id).finishes, 1);
    EXPECT_EQ(tokens(id), 0u);
    harness.requests.erase(id);
  }
  void drain() {
    harness.drain();
    harness.check_all();
  }

  EngineConfig with_clock(EngineConfig config) {
    config.clock = [this] { return time; };
    return config;
  }

  std::chrono::steady_clock::time_point time{};
  std::mt19937 random{1};
  Harness harness;
};

EngineConfig with_places(int places) {
  EngineConfig config = small_config();
  config.max_sequences = places;
  return config;
}

EngineConfig with_pages(int pages) {
  EngineConfig config = small_config();
  config.pages = pages;
  return config;
}

TEST(Deadline, EndsWhoStillWaitsAndNobodyElse) {
  Scene s(with_places(1));
  const uint64_t runs = s.add(20, 60);
  s.steps(3);
  const uint64_t third = s.add_until(20, 5, seconds(30)), first = s.add_until(20, 5, seconds(10)),
                 never = s.add(20, 5), second = s.add_until(20, 5, seconds(20));
  s.steps(1);
  const int used = s.stats().pages_used;
  s.time += seconds(10) - std::chrono::nanoseconds(1);
  s.steps(1);
  EXPECT_EQ(s.finish(first), FinishReason::kNone);
  s.time += std::chrono::nanoseconds(1);
  s.steps(1);
  s.expect_expired(first);
  EXPECT_EQ(s.finish(second), FinishReason::kNone);
  s.time += seconds(20);  // past two at once
  s.steps(1);
  s.expect_expired(second);
  s.expect_expired(third);
  EXPECT_EQ(s.stats().pages_used, used);
  EXPECT_EQ(s.stats().cancelled, 3u);
  EXPECT_EQ(s.stats().waiting, 1);
  s.drain();
  EXPECT_EQ(s.finish(runs), FinishReason::kLength);
  EXPECT_EQ(s.finish(never), FinishReason::kLength);
}

TEST(Deadline, PassedAtSubmissionEndsAtTheFirstStep) {
  Scene s;
  const uint64_t id = s.add_until(20, 5, seconds(-1));
  EXPECT_FALSE(s.harness.step());
  s.expect_expired(id);
  EXPECT_TRUE(s.harness.engine.idle());
}

// It is a bound on waiting: once admitted, a request is answered whole, in prefill, while it runs, and when
// it waits again because its pages were taken.
TEST(Deadline, IsNoConcernOfWhoHasRun) {
  Scene s(with_pages(14));
  const uint64_t older = s.add(60, 80), younger = s.add_until(90, 60, seconds(5));
  s.steps(2);
  EXPECT_EQ(s.tokens(younger), 0u);
  EXPECT_EQ(s.stats().running, 2);  // one of them in the middle of its prompt
  s.time += seconds(100);
  while (s.tokens(younger) < 3) s.steps(1);
  s.time += seconds(100);
  for (int i = 0; i < 200 && s.stats().preemptions == 0; ++i) s.steps(1);
  EXPECT_EQ(s.stats().waiting, 1);
  const uint64_t fresh = s.add_until(20, 5, seconds(5));  // waits behind it
  s.steps(1);
  s.time += seconds(100);
  s.steps(1);
  s.expect_expired(fresh);
  EXPECT_EQ(s.stats().cancelled, 1u);
  s.drain();
  EXPECT_EQ(s.tokens(older), 80u);
  EXPECT_EQ(s.tokens(younger), 60u);
}

TEST(QueueSeconds, AreFromSubmissionToTheFirstAdmission) {
  Scene s(with_places(1));
  const uint64_t at_once = s.add(100, 10);
  s.steps(1);
  const uint64_t queued = s.add(20, 3);
  for (int i = 0; i < 200 && s.finish(at_once) == FinishReason::kNone; ++i) {
    s.time += seconds(2);
    s.steps(1);
  }
  const auto freed = s.time;
  s.time += seconds(5);
  s.drain();
  EXPECT_EQ(s.harness.output(at_once).queue_seconds, 0);  // its prefill is not waiting
  EXPECT_FLOAT_EQ(s.harness.output(queued).queue_seconds,
                  std::chrono::duration<float>(freed - std::chrono::steady_clock::time_point{}).count() + 5);
}

TEST(QueueSeconds, DoNotCountWhatAPreemptionCosts) {
  Scene s(with_pages(10));
  const uint64_t older = s.add(60, 80);
  s.steps(2);
  s.time += seconds(1);
  const uint64_t younger = s.add(70, 60);
  for (int i = 0; !s.harness.engine.idle() && i < 2000; ++i) {
    s.steps(1);
    s.time += seconds(1);
  }
  s.drain();
  EXPECT_GT(s.stats().preemptions, 0u);
  EXPECT_EQ(s.harness.output(older).queue_seconds, 0);
  EXPECT_EQ(s.harness.output(younger).queue_seconds, 0);
}

// Cancels `id` and looks at what the next step leaves of it.
void cancel(Scene& s, uint64_t id) {
  const size_t before = s.tokens(id);
  s.harness.engine.cancel(id);
  EXPECT_EQ(s.finish(id), FinishReason::kNone);
  s.steps(1);
  EXPECT_EQ(s.finish(id), FinishReason::kCancelled);
  EXPECT_EQ(s.tokens(id), before);
}

TEST(Cancel, BeforeTheFirstStep) {
  Scene s;
  const uint64_t id = s.add(20, 5);
  s.add(20, 5);
  cancel(s, id);
  EXPECT_EQ(s.stats().rows, 20u);
  s.drain();
}

TEST(Cancel, WhileItWaits) {
  Scene s(with_places(1));
  s.add(20, 30);
  const uint64_t id = s.add(20, 5);
  s.add(20, 5);
  s.steps(2);
  EXPECT_EQ(s.stats().waiting, 2);
  const int used = s.stats().pages_used;
  cancel(s, id);
  EXPECT_EQ(s.stats().waiting, 1);
  EXPECT_EQ(s.stats().pages_used, used);
  s.drain();
}

TEST(Cancel, InTheMiddleOfItsPrompt) {
  Scene s;
  s.add(10, 30);
  s.steps(2);
  const int used = s.stats().pages_used;
  const uint64_t id = s.add(120, 5);
  s.steps(2);
  EXPECT_EQ(s.stats().running, 2);
  EXPECT_EQ(s.tokens(id), 0u);
  EXPECT_EQ(s.stats().pages_used, used + 8);
  cancel(s, id);
  EXPECT_EQ(s.stats().running, 1);
  EXPECT_EQ(s.stats().pages_used, used);
  s.drain();
}

// Others wait for the blocks that it computes: one of them does it in its place.
TEST(Cancel, InTheMiddleOfAPromptThatOthersWaitFor) {
  Scene s;
  s.add(10, 30);
  s.steps(2);
  const Request shared = s.request(120, 5);
  const uint64_t id = s.harness.submit(shared);
  s.harness.submit(shared);
  s.harness.submit(shared);
  s.steps(3);
  EXPECT_EQ(s.tokens(id), 0u);
  cancel(s, id);
  s.drain();
  EXPECT_GT(s.stats().prefix_hit_tokens, 0u);
}

TEST(Cancel, WhileItRuns) {
  Scene s;
  s.add(20, 30);
  const uint64_t id = s.add(20, 60);
  s.steps(8);
  EXPECT_GT(s.tokens(id), 2u);
  const int used = s.stats().pages_used;
  cancel(s, id);
  EXPECT_LE(s.stats().pages_used, used - 2);
  s.drain();
}

TEST(Cancel, OfOneRequestEndsAllItsSamplesWhateverTheyDo) {
  Scene s(with_places(3));
  s.add(20, 30);
  Request many = s.request(40, 30);
  many.samples = 4;  // two of them have a place
  const uint64_t id = s.harness.submit(many);
  s.steps(6);
  EXPECT_EQ(s.stats().waiting, 2);
  s.harness.engine.cancel(id);
  s.steps(1);
  EXPECT_EQ(s.stats().waiting + s.stats().running, 1);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(s.harness.output(id, i).finish, FinishReason::kCancelled);
  s.drain();
}

TEST(Cancel, AfterItsPagesWereTaken) {
  Scene s(with_pages(8));
  const uint64_t older = s.add(30, 60), id = s.add(30, 60);
  for (int i = 0; i < 200 && s.stats().preemptions == 0; ++i) s.steps(1);
  EXPECT_EQ(s.stats().waiting, 1);
  EXPECT_GT(s.tokens(id), 10u);
  const size_t before = s.tokens(older);
  cancel(s, id);
  EXPECT_EQ(s.stats().waiting, 0);
  EXPECT_EQ(s.tokens(older), before + 1);
  s.drain();
  EXPECT_EQ(s.tokens(older), 60u);
}

// Keys, adapters, samples and draws over a pool for a few of them; a third is cancelled on the way.
TEST(KvExhaustion, LongRequestsOfManyKindsAnswerAsAlone) {
  for (const bool cancels : {false, true}) {
    Scene s;
    std::vector<uint64_t> ids;
    for (int i = 0; i < 128; ++i) {
      Request r = s.request(50 + i % 30, 70);
      r.tenant = "key" + std::to_string(i % 4);
      if (i % 3 > 0) r.adapters = {{fake_adapter("adapter" + std::to_string(i % 5)), 1}};
      r.samples = 1 + (i % 9 == 0);
      ids.push_back(s.harness.submit(r));
    }
    for (size_t i = 0; cancels && i < ids.size(); i += 3) {
      s.steps(17);
      s.harness.engine.cancel(ids[i]);
    }
    s.drain();
    EXPECT_GT(s.stats().preemptions, 20u);
    EXPECT_EQ(s.stats().cancelled > 0, cancels);
    EXPECT_EQ(s.stats().pages_free + s.stats().pages_cached, 64);
  }
}

}  // namespace
}  // namespace chorus
