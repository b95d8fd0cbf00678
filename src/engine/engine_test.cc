#include "engine/engine.h"

#include <gtest/gtest.h>

#include "engine/engine_test_harness.h"

namespace chorus {
namespace {

Request simple(std::vector<int32_t> prompt, int max_tokens, std::vector<AdapterUse> adapters = {}) {
  Request request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.adapters = std::move(adapters);
  request.sampling.temperature = 0;
  return request;
}

std::vector<int32_t> counting(int count, int first = 0) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back((first + i) % 40);
  return tokens;
}

TEST(Engine, AnswersOneRequest) {
  Harness h;
  const uint64_t id = h.submit(simple({1, 2, 3}, 5));
  h.drain();
  h.check_all();
  EXPECT_EQ(h.output(id).tokens.size(), 5u);
  EXPECT_EQ(h.output(id).finish, FinishReason::kLength);
  EXPECT_FALSE(h.step());
}

// Whatever else runs: thousands of requests of all kinds, in random bursts, with random cancels, over pools
// from ample to so small that sequences are preempted all the time.
class RandomWork : public testing::TestWithParam<std::pair<int, int>> {};

TEST_P(RandomWork, EveryAnswerIsThatOfTheRequestAlone) {
  const auto [pages, count] = GetParam();
  EngineConfig config = small_config();
  config.pages = pages;
  Harness h(config);
  RequestMaker maker(static_cast<uint32_t>(pages));
  std::vector<uint64_t> ids;
  while (static_cast<int>(ids.size()) < count) {
    for (int burst = maker.below(6); burst > 0; --burst) ids.push_back(h.submit(maker.make()));
    for (int steps = maker.below(40); steps > 0; --steps) h.step();
    if (!ids.empty() && maker.below(4) == 0)
      h.engine.cancel(
          ids[ids.size() - 1 -
              static_cast<size_t>(maker.below(static_cast<int>(std::min<size_t>(ids.size(), 8))))]);
  }
  h.drain();
  h.check_all();
  const EngineStats stats = h.engine.stats();
  EXPECT_GT(stats.prefix_hit_tokens, 0u);
  EXPECT_GT(stats.cancelled, 0u);
  EXPECT_EQ(stats.preemptions > 0, pages <= 24) << stats.preemptions;
}

INSTANTIATE_TEST_SUITE_P(Pools, RandomWork,
                         testing::Values(std::pair(10, 2000), std::pair(16, 3000), std::pair(24, 3000),
                                         std::pair(64, 3000), std::pair(400, 3000)));

TEST(Engine, A64PagePoolServes128LongRequests) {
  Harness h;
  for (int i = 0; i < 128; ++i) h.submit(simple(counting(40 + i % 30, i), 80));
  h.drain();
  h.check_all();
  EXPECT_GT(h.engine.stats().preemptions, 0u);
}

TEST(Engine, ALonePreemptionChangesNothing) {
  EngineConfig config = small_config();
  config.pages = 8;
  Harness h(config);
  h.submit(simple(counting(30), 60));
  h.submit(simple(counting(30, 7), 60));
  h.drain();
  h.check_all();
  EXPECT_GT(h.engine.stats().preemptions, 0u);
}

TEST(Engine, EqualPromptsAreComputedOnce) {
  Harness h;
  Request request = simple(counting(64), 4);
  request.samples = 4;
  h.submit(request);
  request.samples = 1;
  h.submit(request);
  h.drain();
  h.check_all();
  // Three full blocks are shared; the fourth holds the last token and is computed by each.
  EXPECT_EQ(h.engine.stats().prefix_hit_tokens, 4u * 48);
  EXPECT_EQ(h.engine.stats().prefill_tokens, 64u + 4 * 16);
}

TEST(Engine, PrefixesAreNotSharedAcrossAdaptersScalesOrTenants) {
  Harness h;
  const AdapterHandle a = AdapterBuilder::make("a"), b = AdapterBuilder::make("b");
  const std::vector<std::vector<AdapterUse>> sets = {{},       {{a, 1}},         {{b, 1}},
                                                     {{a, 2}}, {{a, 1}, {b, 1}}, {{b, 1}, {a, 1}}};
  for (const auto& adapters : sets) h.submit(simple(counting(64), 4, adapters));
  Request other = simple(counting(64), 4);
  other.tenant = "other";
  h.submit(other);
  h.drain();
  h.check_all();
  EXPECT_EQ(h.engine.stats().prefix_hit_tokens, 0u);
}

TEST(Engine, SamplesDiffer) {
  Harness h;
  Request request = simple({1, 2, 3}, 10);
  request.sampling.temperature = 1;
  request.samples = 2;
  const uint64_t id = h.submit(request);
  h.drain();
  h.check_all();
  EXPECT_NE(h.output(id, 0).tokens, h.output(id, 1).tokens);
}

TEST(Engine, ScoresAPromptWithoutGenerating) {
  Harness h;
  Request request = simple(counting(50), 0);
  request.prompt_logprobs = true;
  const uint64_t id = h.submit(request);
  request.prompt = {5};
  const uint64_t single = h.submit(request);
  h.drain();
  h.check_all();
  EXPECT_EQ(h.output(id).tokens, counting(49, 1));
  EXPECT_EQ(h.output(single).tokens.size(), 0u);
  EXPECT_EQ(h.output(single).finish, FinishReason::kLength);
}

TEST(Engine, StopIdsAndMinTokens) {
  Harness h;
  const Request plain = simple({9, 8, 7}, 12);
  const std::vector<int32_t> free_run = expected_output(plain, 0, 40).tokens;
  Request request = plain;
  request.stop_ids = {free_run[0]};
  const uint64_t stopped = h.submit(request);
  request.min_tokens = 3;
  const uint64_t longer = h.submit(request);
  request.ignore_stop_ids = true;
  const uint64_t ignoring = h.submit(request);
  h.drain();
  h.check_all();
  EXPECT_EQ(h.output(stopped).tokens, std::vector<int32_t>{free_run[0]});
  EXPECT_EQ(h.output(stopped).finish, FinishReason::kStop);
  EXPECT_GE(h.output(longer).tokens.size(), 3u);
  EXPECT_EQ(h.output(ignoring).tokens, free_run);
}

TEST(Engine, CancelWhileAnotherPrefills) {
  Harness h;
  const uint64_t cancelled = h.submit(simple(counting(20), 100));
  for (int i = 0; i < 4; ++i) h.step();
  h.submit(simple(counting(120, 3), 5));
  h.step();
  const int used = h.engine.stats().pages_used;
  h.engine.cancel(cancelled);
  h.step();
  EXPECT_EQ(h.output(cancelled).finish, FinishReason::kCancelled);
  EXPECT_LT(h.engine.stats().pages_used, used);
  h.engine.cancel(cancelled);
  h.engine.cancel(12345);
  h.drain();
  h.check_all();
}

TEST(Engine, CancelStormLeavesNoPageInUse) {
  Harness h;
  RequestMaker maker(3);
  for (int round = 0; round < 100; ++round) {
    std::vector<uint64_t> ids;
    for (int i = 0; i < 50; ++i) ids.push_back(h.submit(maker.make()));
    for (int i = maker.below(12); i > 0; --i) h.step();
    for (const uint64_t id : ids) h.engine.cancel(id);
    h.step();
    ASSERT_TRUE(h.engine.idle());
    ASSERT_EQ(h.engine.stats().pages_used, 0);
  }
  h.check_all();
}

TEST(Engine, AForwardThatThrowsEndsItsBatchOnly) {
  Harness h;
  const uint64_t first = h.submit(simple(counting(40), 5));
  h.before_forward = [](const Batch&) { throw std::runtime_error("device lost"); };
  h.step();
  h.before_forward = nullptr;
  EXPECT_EQ(h.output(first).finish, FinishReason::kError);
  EXPECT_EQ(h.output(first).error, "device lost");
  EXPECT_EQ(h.engine.stats().pages_free, 64);
  h.requests.clear();
  h.submit(simple(counting(40), 5));
  h.drain();
  h.check_all();
  EXPECT_EQ(h.engine.stats().prefix_hit_tokens, 0u);
}

// A NaN adapter: its own request fails, the neighbours do not notice, and what it stored is not reused.
TEST(Engine, NaNLogitsEndTheirSequenceOnly) {
  Harness h;
  const AdapterHandle bad = AdapterBuilder::make("bad");
  const uint64_t poisoned = h.submit(simple(counting(40), 5, {{bad, 1}}));
  for (int i = 0; i < 6; ++i) h.submit(simple(counting(30, i), 8));
  bool broken = true;
  h.after_forward = [&](const Batch& batch, std::span<float> logits) {
    for (size_t i = 0; broken && i < batch.logit_rows.size(); ++i) {
      for (const LoraSegment& s : batch.segments) {
        if (batch.logit_rows[i] >= s.row_begin && batch.logit_rows[i] < s.row_end)
          logits[i * 40 + 3] = std::numeric_limits<float>::quiet_NaN();
      }
    }
  };
  h.drain();
  EXPECT_EQ(h.output(poisoned).finish, FinishReason::kError);
  EXPECT_NE(h.output(poisoned).error, "");
  h.requests.erase(poisoned);
  h.check_all();
  broken = false;
  h.submit(simple(counting(40), 5, {{bad, 1}}));
  h.drain();
  h.check_all();
  EXPECT_EQ(h.engine.stats().prefix_hit_tokens, 0u);
}

TEST(Engine, AdaptersAreReleasedAtTheEnd) {
  Harness h;
  AdapterHandle a = AdapterBuilder::make("a");
  const std::weak_ptr<const Adapter> watch = a;
  Request request = simple(counting(20), 5, {{a, 1}});
  request.samples = 3;
  h.engine.submit(std::move(request));
  a.reset();
  h.step();
  EXPECT_FALSE(watch.expired());
  h.drain();
  EXPECT_TRUE(watch.expired());
}

TEST(Engine, RefusesWhatTheQueueCannotHold) {
  EngineConfig config = small_config();
  config.max_queue = 2;
  Harness h(config);
  Request request = simple({1}, 2);
  request.samples = 7;
  h.submit(request);
  h.submit(request);
  EXPECT_THROW(h.engine.submit(request), QueueFull);
  h.drain();
  h.check_all();
  EXPECT_NO_THROW(h.submit(request));
}

TEST(Engine, RefusesImpossibleConfigurations) {
  const auto build = [](auto change) {
    EngineConfig config = small_config();
    change(config);
    Engine engine(config, [](const Batch&, std::span<float>) {});
  };
  EXPECT_THROW(build([](EngineConfig& c) { c.vocab = 0; }), Error);
  EXPECT_THROW(build([](EngineConfig& c) { c.pages = 0; }), Error);
  EXPECT_THROW(build([](EngineConfig& c) { c.max_rows = c.max_sequences; }), Error);
  EXPECT_THROW(build([](EngineConfig& c) { c.prefill_chunk = 0; }), Error);
  EXPECT_NO_THROW(build([](EngineConfig&) {}));
}

}  // namespace
}  // namespace chorus
