// Counts what a step allocates, by replacing the global operator new of the test program.

#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "engine/engine_test_harness.h"
#include "formats/tokenizer_golden.h"
#include "grammar/sources.h"

namespace {
thread_local bool counting = false;
thread_local int allocations = 0;
}  // namespace

// Inlined, they would look mismatched to the compiler.
[[gnu::noinline]] void* operator new(size_t size) {
  allocations += counting;
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void* operator new(size_t size, const std::nothrow_t&) noexcept {
  allocations += counting;
  return std::malloc(size == 0 ? 1 : size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace chorus {
namespace {

int count_allocations(const std::function<void()>& work) {
  allocations = 0;
  counting = true;
  work();
  counting = false;
  return allocations;
}

TEST(Allocation, TheCounterCounts) {
  EXPECT_GT(count_allocations([] { std::vector<int> v(100); }), 0);
}

// Not only decoding: prefill, admission, finishing, preemption and prefix hits come by as well.
TEST(Allocation, AStepAllocatesNothing) {
  EngineConfig config = small_config();
  config.pages = 24;
  FakeModel model(config.vocab, config.pages);
  Engine engine(config, [&](const Batch& batch, std::span<float> logits) { model.forward(batch, logits); });
  RequestMaker maker(5);
  for (int i = 0; i < 300; ++i) engine.submit(maker.make());
  int events = 0;
  const EventSink sink = [&](const TokenEvent&) { ++events; };
  int steps = 0;
  while (!engine.idle()) {
    ASSERT_EQ(count_allocations([&] { engine.step(sink); }), 0) << "step " << steps;
    ++steps;
  }
  EXPECT_GT(events, 300);
  EXPECT_GT(engine.stats().preemptions, 0u);
  EXPECT_GT(engine.stats().prefix_hit_tokens, 0u);
}

TEST(Allocation, NorDoesAStepWithConstraints) {
  const Tokenizer tokenizer = load_golden("smollm");
  EngineConfig config = small_config();
  config.vocab = tokenizer.vocab_size();
  FakeModel model(config.vocab, config.pages);
  Engine engine(config, [&](const Batch& batch, std::span<float> logits) { model.forward(batch, logits); });
  ConstraintCompiler compiler(tokenizer, tokenizer.stop_ids(), [&] { engine.nudge(); },
                              {.compile_time = std::chrono::seconds(20)});
  RequestMaker maker(6);
  for (int i = 0; i < 60; ++i) {
    Request request = maker.make();
    request.ignore_stop_ids = false;
    request.constraint = compiler.compile("key", [] { return parse_regex("([a-z]{2,9}[ ,.])*"); });
    engine.submit(std::move(request));
  }
  while (!engine.idle()) {
    ASSERT_EQ(count_allocations([&] { engine.step([](const TokenEvent&) {}); }), 0);
    if (!engine.idle()) engine.wait(std::chrono::seconds(10));
  }
}

}  // namespace
}  // namespace chorus
