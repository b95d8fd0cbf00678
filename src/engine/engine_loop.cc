#include "engine/engine_loop.h"

#include <utility>

namespace chorus {
namespace {

using Clock = std::chrono::steady_clock;

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
}

constexpr std::chrono::milliseconds kIdleWait{1000};  // submit() and cancel() end it at once

}  // namespace

EngineLoop::EngineLoop(Engine& engine, std::function<void()> wake)
    : engine_(engine), wake_(std::move(wake)), thread_([this](const std::stop_token& stop) { run(stop); }) {}

EngineLoop::~EngineLoop() { stop(); }

void EngineLoop::run(const std::stop_token& stop) {
  std::vector<TokenEvent> events;  // of one step; its storage goes back and forth with ready_
  const EventSink sink = [&](const TokenEvent& event) { events.push_back(event); };
  while (!stop.stop_requested()) {
    step_began_.store(now_ns(), std::memory_order_relaxed);
    const bool stepped = engine_.step(sink);
    step_began_.store(0, std::memory_order_relaxed);
    if (!events.empty()) {
      bool wake = false;
      {
        const std::lock_guard lock(mutex_);
        if (ready_.empty()) {
          ready_.swap(events);
        } else {
          ready_.insert(ready_.end(), std::make_move_iterator(events.begin()),
                        std::make_move_iterator(events.end()));
        }
        wake = !std::exchange(woken_, true);
      }
      events.clear();
      if (wake) wake_();
    }
    if (!stepped) engine_.wait(kIdleWait);
  }
}

void EngineLoop::take(std::vector<TokenEvent>& events) {
  events.clear();
  const std::lock_guard lock(mutex_);
  events.swap(ready_);
  woken_ = false;
}

void EngineLoop::stop() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  engine_.nudge();
  thread_.join();
}

std::chrono::milliseconds EngineLoop::step_age() const {
  const int64_t began = step_began_.load(std::memory_order_relaxed);
  if (began == 0) return std::chrono::milliseconds(0);
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::nanoseconds(now_ns() - began));
}

}  // namespace chorus
