// The engine with others submitting and cancelling on their own threads; meant for the thread sanitizer.

#include <gtest/gtest.h>

#include <thread>

#include "engine/engine_test_harness.h"

namespace chorus {
namespace {

// Submits from its own thread and cancels some; adapters are dropped here while the engine still uses them.
void play_client(Engine& engine, uint32_t seed, int count, std::map<uint64_t, Request>& sent) {
  RequestMaker maker(seed);
  std::vector<uint64_t> ids;
  for (int i = 0; i < count; ++i) {
    Request request = maker.make();
    const uint64_t id = engine.submit(request);
    sent[id] = std::move(request);
    ids.push_back(id);
    if (maker.below(4) == 0) engine.cancel(ids[static_cast<size_t>(maker.below(i + 1))]);
    if (maker.below(8) == 0) (void)engine.stats();
    if (maker.below(8) == 0) std::this_thread::yield();
  }
}

TEST(EngineThreads, SubmittersAndCancellersBesideTheStep) {
  constexpr int kClients = 4;
  Harness h;
  std::map<uint64_t, Request> sent[kClients];
  std::vector<std::thread> clients;
  std::atomic<int> active{kClients};
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&, i] {
      play_client(h.engine, static_cast<uint32_t>(i), 200, sent[i]);
      --active;
    });
  }
  while (active > 0 || !h.engine.idle()) {
    if (!h.step()) h.engine.wait(std::chrono::milliseconds(2));
  }
  for (std::thread& client : clients) client.join();
  for (auto& requests : sent) h.requests.merge(requests);
  EXPECT_EQ(h.requests.size(), size_t{kClients} * 200);
  h.check_all();
  const EngineStats stats = h.engine.stats();
  EXPECT_EQ(stats.pages_used, 0);
  EXPECT_EQ(stats.finished + stats.cancelled + stats.failed, h.outputs.size());
}

TEST(EngineThreads, WaitReturnsWhenARequestArrives) {
  Harness h;
  std::thread client([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    Request request;
    request.prompt = {1};
    h.engine.submit(std::move(request));
  });
  const auto start = std::chrono::steady_clock::now();
  h.engine.wait(std::chrono::seconds(20));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  EXPECT_FALSE(h.engine.idle());
  client.join();
  h.drain();
  h.engine.wait(std::chrono::milliseconds(1));
}

}  // namespace
}  // namespace chorus
