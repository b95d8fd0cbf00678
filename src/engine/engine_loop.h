#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/engine.h"

namespace chorus {

// Drives an engine on a thread of its own and hands its events over in bulk, so that nothing of what happens
// to them (text, JSON, sockets) costs the steps more than a copy.
class EngineLoop {
 public:
  // `wake` is called on the engine's thread when there are events and nobody has been woken for them yet; it
  // must only pass the word on and not throw. `engine` must outlive this, and nobody else may call step() or
  // wait().
  EngineLoop(Engine& engine, std::function<void()> wake);
  ~EngineLoop();  // stop()

  // Puts the events since the last call into `events` (what it held is dropped; its storage is used again).
  void take(std::vector<TokenEvent>& events);

  // Ends after the step at hand; what has not ended is left. Then no more events come.
  void stop();

  // How long the step at hand has taken; 0: none is running. For a watchdog.
  std::chrono::milliseconds step_age() const;

 private:
  void run(const std::stop_token& stop);

  Engine& engine_;
  std::function<void()> wake_;
  std::mutex mutex_;
  std::vector<TokenEvent> ready_;
  bool woken_ = false;
  std::atomic<int64_t> step_began_{0};  // steady clock, ns
  std::jthread thread_;
};

}  // namespace chorus
