// Who waits how long when others flood the queue. Time is counted in steps, and the clock is the test's.

#include <gtest/gtest.h>

#include "engine/engine_test_harness.h"

namespace chorus {
namespace {

using std::chrono::seconds;

struct Crowd {
  explicit Crowd(EngineConfig config = small_config()) : harness(with_clock(std::move(config))) {}

  uint64_t add(const std::string& tenant, int prompt, int max_tokens,
               const AdapterHandle& adapter = nullptr) {
    Request request;
    request.tenant = tenant;
    for (int i = 0; i < prompt; ++i) request.prompt.push_back(static_cast<int32_t>(random() % 40));
    if (adapter != nullptr) request.adapters = {{adapter, 1}};
    request.max_tokens = max_tokens;
    request.sampling.temperature = 0;
    return harness.submit(request);
  }

  void flood(const std::string& tenant, int count, const AdapterHandle& adapter = nullptr) {
    for (int i = 0; i < count; ++i) add(tenant, 20 + i % 41, 20 + i % 23, adapter);
  }

  void steps(int count) {
    for (int i = 0; i < count; ++i) {
      time += step_time;
      harness.step();
    }
  }

  bool began(uint64_t id) { return !harness.output(id).tokens.empty(); }

  // Steps until its first token; `limit` if it has none by then.
  int wait_for(uint64_t id, int limit = 2000) {
    int count = 0;
    for (; count < limit && !began(id); ++count) steps(1);
    return count;
  }

  // Everybody still answers as alone.
  void finish() {
    harness.drain();
    harness.check_all();
  }

  EngineConfig with_clock(EngineConfig config) {
    config.clock = [this] { return time; };
    return config;
  }

  std::chrono::steady_clock::time_point time{};
  std::chrono::milliseconds step_time{20};
  std::mt19937 random{1};
  Harness harness;
};

constexpr int kFlood = 1000;

// The most steps that one of several requests of a quiet key waits for its first token. Calm: the loud key
// has requests that decode, and none that wait.
int longest_wait_of_a_key(int prompt, int loud, int loud_tokens) {
  Crowd crowd;
  for (int i = 0; i < loud; ++i) crowd.add("loud", 20 + i % 41, loud_tokens - i % 7);
  int longest = 0;
  for (int i = 0; i < 20; ++i) {
    crowd.steps(7);
    longest = std::max(longest, crowd.wait_for(crowd.add("quiet", prompt, 1)));
  }
  crowd.finish();
  return longest;
}

TEST(FloodOfAKey, AnotherKeysFirstTokenTakesAtMostThreeTimesAsLong) {
  for (const int prompt : {5, 30, 60, 100, 150}) {
    const int calm = longest_wait_of_a_key(prompt, 4, 100);
    const int flooded = longest_wait_of_a_key(prompt, kFlood, 40);
    EXPECT_LE(flooded, 3 * calm) << prompt << " tokens";
  }
}

// The worst of several arrivals of one adapter's requests among `others` of another's, all under one key.
int longest_wait_of_an_adapter(int others, std::chrono::milliseconds step_time) {
  Crowd crowd;
  crowd.step_time = step_time;
  const AdapterHandle loud = fake_adapter("loud"), quiet = fake_adapter("quiet");
  int longest = 0;
  crowd.flood("", others, loud);
  for (int i = 0; i < 10; ++i) {
    crowd.steps(5);
    longest = std::max(longest, crowd.wait_for(crowd.add("", 30, 4, quiet)));
    crowd.flood(
        "", std::max(0, others - crowd.harness.engine.stats().waiting - crowd.harness.engine.stats().running),
        loud);
  }
  crowd.finish();
  return longest;
}

// What runs is not interrupted for another adapter of the same key, so calm is a queue that is just full.
TEST(FloodOfAnAdapter, AnotherAdaptersFirstTokenTakesAtMostThreeTimesAsLong) {
  const std::chrono::milliseconds quick(20), slow(1000);
  const int calm = longest_wait_of_an_adapter(small_config().max_sequences, quick);
  EXPECT_LE(longest_wait_of_an_adapter(kFlood, quick), 3 * calm);
  // Nor does it matter that the flood has waited for long.
  EXPECT_LE(longest_wait_of_an_adapter(kFlood, slow), 3 * calm);
}

// Keys that come back as soon as they are answered each begin anew with what the least served has had. One
// that has had more must not wait for as long as they go on.
TEST(Aging, AKeyThatWasServedMoreIsNotStarved) {
  EngineConfig config = small_config();
  config.max_sequences = 2;
  Crowd crowd(config);
  crowd.step_time = seconds(1);
  std::vector<uint64_t> old, others(8);
  for (int i = 0; i < 4; ++i) old.push_back(crowd.add("old", 20, 10));
  int steps = 0;
  for (; !crowd.began(old.back()) && steps < 1000; ++steps) {
    for (size_t i = 0; i < others.size(); ++i) {
      if (others[i] == 0 || crowd.harness.output(others[i]).finishes > 0)
        others[i] = crowd.add("key" + std::to_string(i), 20, 6);
    }
    crowd.steps(1);
  }
  // The first two find places; then 30 s at most for one, and the last follows it.
  EXPECT_LT(steps, 100);
  crowd.finish();
}

}  // namespace
}  // namespace chorus
