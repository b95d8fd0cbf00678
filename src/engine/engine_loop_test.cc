// The thread that steps, with others that submit, cancel and take beside it; meant for the thread sanitizer
// too.

#include "engine/engine_loop.h"

#include <gtest/gtest.h>

#include <semaphore>

#include "engine/engine_test_harness.h"

namespace chorus {
namespace {

constexpr std::chrono::seconds kLong(60);  // for what would otherwise never happen

Request greedy(int prompt, int max_tokens) {
  Request request;
  for (int i = 0; i < prompt; ++i) request.prompt.push_back((prompt * 7 + i * i) % 40);
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  return request;
}

bool wait_until(const std::function<bool()>& condition) {
  const auto limit = std::chrono::steady_clock::now() + kLong;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > limit) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// An engine, its loop, and whoever takes the events: the test's thread.
struct Stage {
  ~Stage() { held = false; }

  // Takes what there is, and gives it to the harness, which looks at its order.
  size_t take() {
    loop.take(events);
    for (const TokenEvent& event : events) harness.record(event);
    return events.size();
  }

  // Woken for each, until `condition`.
  void take_until(const std::function<bool()>& condition) {
    while (!condition()) {
      ASSERT_TRUE(woken.try_acquire_for(kLong)) << "nobody was woken";
      take();
    }
  }
  auto ended(uint64_t id) {
    return [this, id] { return harness.output(id).finishes > 0; };
  }

  static EngineConfig counting(EngineConfig config, std::atomic<int>& looks) {
    config.clock = [&looks] {
      ++looks;
      return std::chrono::steady_clock::now();
    };
    return config;
  }

  std::atomic<int> looks{0};  // at the clock: at least one for each step and each submit()
  std::atomic<int> wakes{0};
  std::atomic<bool> held{false};  // then a forward pass needs a permit
  std::counting_semaphore<> permits{0};
  std::counting_semaphore<> woken{0};
  std::vector<TokenEvent> events;
  Harness harness{counting(small_config(), looks)};
  Engine& engine = harness.engine;
  // Set before the first request comes; the harness has none to run until then.
  bool prepared = [this] {
    harness.before_forward = [this](const Batch&) {
      while (held && !permits.try_acquire_for(std::chrono::milliseconds(1))) continue;
    };
    return true;
  }();
  EngineLoop loop{engine, [this] {
                    ++wakes;
                    woken.release();
                  }};
};

// Of every sample all events in order, and none after the last; adapters go when nobody uses them any more.
TEST(EngineLoop, ManyThreadsSubmitAndCancel) {
  constexpr int kClients = 4, kRequests = 120;
  Stage s;
  std::map<uint64_t, Request> sent[kClients];
  std::vector<std::weak_ptr<const Adapter>> adapters[kClients];
  std::atomic<int> active{kClients};
  const auto play = [&](int client) {
    RequestMaker maker(static_cast<uint32_t>(client));
    std::vector<uint64_t> ids;
    for (int i = 0; i < kRequests; ++i) {
      Request request = maker.make();
      const AdapterHandle adapter = fake_adapter("adapter" + std::to_string(client * 1000 + i / 10));
      adapters[client].push_back(adapter);
      request.adapters = {{adapter, 1}};
      ids.push_back(s.engine.submit(request));
      request.adapters.clear();
      sent[client][ids.back()] = std::move(request);
      if (maker.below(4) == 0) s.engine.cancel(ids[static_cast<size_t>(maker.below(i + 1))]);
      if (maker.below(10) == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    if (--active == 0) s.woken.release();
  };
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) clients.emplace_back(play, i);
  s.take_until([&] { return active == 0; });
  for (std::thread& client : clients) client.join();

  size_t samples = 0;
  for (int client = 0; client < kClients; ++client) {
    int i = 0;
    for (auto& [id, request] : sent[client]) {
      request.adapters = {{fake_adapter("adapter" + std::to_string(client * 1000 + i++ / 10)), 1}};
      samples += static_cast<size_t>(request.samples);
    }
    s.harness.requests.merge(sent[client]);
  }
  const auto all_ended = [&] {
    return s.harness.outputs.size() == samples &&
           std::all_of(s.harness.outputs.begin(), s.harness.outputs.end(),
                       [](const auto& entry) { return entry.second.finishes > 0; });
  };
  s.take_until(all_ended);
  EXPECT_TRUE(wait_until([&] { return s.engine.idle(); }));
  s.loop.stop();
  EXPECT_EQ(s.take(), 0u);
  s.harness.check_all();
  EXPECT_GT(s.engine.stats().cancelled, 0u);
  EXPECT_EQ(s.engine.stats().pages_used, 0);
  for (const auto& list : adapters) {
    for (const auto& adapter : list) EXPECT_TRUE(adapter.expired());
  }
}

// Whoever takes may be as slow as it likes: nothing is lost, and it is woken once until it has taken.
TEST(EngineLoop, WakesOnceForWhatNobodyHasTaken) {
  Stage s;
  const uint64_t first = s.harness.submit(greedy(20, 30)), second = s.harness.submit(greedy(30, 50));
  ASSERT_TRUE(wait_until([&] { return s.engine.idle(); }));
  s.loop.stop();
  EXPECT_EQ(s.wakes, 1);
  EXPECT_EQ(s.take(), 80u);
  EXPECT_EQ(s.take(), 0u);
  EXPECT_EQ(s.harness.output(first).finishes + s.harness.output(second).finishes, 2);
  s.harness.check_all();
}

TEST(EngineLoop, WakesAgainAfterATake) {
  Stage s;
  for (int i = 1; i < 4; ++i) {
    s.take_until(s.ended(s.harness.submit(greedy(20 + i, 10))));
    EXPECT_GE(s.wakes, i);
  }
  s.harness.check_all();
}

// The answers go on where they were when somebody steps again.
TEST(EngineLoop, StopLeavesWhatRuns) {
  Stage s;
  s.held = true;
  for (int i = 0; i < 6; ++i) s.harness.submit(greedy(20 + i, 100));
  s.permits.release(10);
  ASSERT_TRUE(s.woken.try_acquire_for(kLong));
  std::atomic<bool> stopping{false}, stopped{false};
  std::thread stopper([&] {
    stopping = true;
    s.loop.stop();
    stopped = true;
  });
  EXPECT_TRUE(wait_until([&] { return stopping.load(); }));
  while (!stopped) {  // the step at hand needs one more
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    s.permits.release();
  }
  s.held = false;
  stopper.join();
  s.take();
  const uint64_t steps = s.engine.stats().steps;
  EXPECT_FALSE(s.engine.idle());
  const uint64_t late = s.harness.submit(greedy(40, 3));
  s.engine.nudge();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(s.engine.stats().steps, steps);
  EXPECT_EQ(s.take(), 0u);
  EXPECT_EQ(s.loop.step_age(), std::chrono::milliseconds(0));
  s.loop.stop();  // once more does nothing
  s.harness.drain();
  s.harness.check_all();
  EXPECT_EQ(s.harness.output(late).tokens.size(), 3u);
}

// It looks for work once a second, however long nothing comes; what comes is served before that.
TEST(EngineLoop, IsParkedWhileThereIsNothingToDo) {
  Stage s;
  s.take_until(s.ended(s.harness.submit(greedy(20, 5))));
  ASSERT_TRUE(wait_until([&] { return s.engine.idle(); }));
  const uint64_t steps = s.engine.stats().steps;
  const int looks = s.looks, wakes = s.wakes;
  std::this_thread::sleep_for(std::chrono::seconds(2));
  EXPECT_LE(s.looks - looks, 20);
  EXPECT_EQ(s.engine.stats().steps, steps);
  EXPECT_EQ(s.wakes, wakes);
  EXPECT_EQ(s.loop.step_age(), std::chrono::milliseconds(0));
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 40; ++i) s.take_until(s.ended(s.harness.submit(greedy(10 + i, 2))));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));  // 40 if it only looked
  s.harness.check_all();
}

TEST(EngineLoop, StepAgeGrowsWhileAStepTakesLong) {
  Stage s;
  s.held = true;
  const uint64_t id = s.harness.submit(greedy(20, 5));
  EXPECT_TRUE(wait_until([&] { return s.loop.step_age() >= std::chrono::milliseconds(200); }));
  s.held = false;
  s.take_until(s.ended(id));
  EXPECT_TRUE(wait_until([&] { return s.loop.step_age() == std::chrono::milliseconds(0); }));
  s.harness.check_all();
}

// Cancelled during a step, it ends with the next one.
TEST(EngineLoop, CancelsWhatTheStepAtHandComputes) {
  Stage s;
  s.held = true;
  const uint64_t cancelled = s.harness.submit(greedy(20, 100)), other = s.harness.submit(greedy(25, 10));
  ASSERT_TRUE(wait_until([&] { return s.loop.step_age() > std::chrono::milliseconds(0); }));
  s.engine.cancel(cancelled);
  s.held = false;
  s.take_until(s.ended(other));
  s.take_until(s.ended(cancelled));
  EXPECT_EQ(s.harness.output(cancelled).finish, FinishReason::kCancelled);
  EXPECT_LE(s.harness.output(cancelled).tokens.size(), 1u);
  s.harness.check_all();
}

TEST(EngineLoop, AForwardThatThrowsIsAnEventAndTheLoopGoesOn) {
  Stage s;
  std::atomic<bool> fails{true};
  s.harness.after_forward = [&](const Batch&, std::span<float>) {
    if (fails) throw std::runtime_error("device lost");
  };
  const uint64_t failed = s.harness.submit(greedy(20, 5));
  s.take_until(s.ended(failed));
  EXPECT_EQ(s.harness.output(failed).finish, FinishReason::kError);
  EXPECT_EQ(s.harness.output(failed).error, "device lost");
  s.harness.requests.erase(failed);
  fails = false;
  s.take_until(s.ended(s.harness.submit(greedy(20, 5))));
  s.harness.check_all();
}

}  // namespace
}  // namespace chorus
