#pragma once

#include <atomic>
#include <chrono>
#include <functional>

namespace chorus {

// Lets training go on only while nobody else wants the processor. Takes no lock: who is in a hurry never
// waits for who trains.
class TrainingGate {
 public:
  // `busy` says whether others work, and may be called on any thread.
  explicit TrainingGate(std::function<bool()> busy) : busy_(std::move(busy)) {}

  // On the training's thread, between two pieces of work: returns at once while nobody is busy, else when
  // nobody has been for kQuiet. Throws TrainingStopped after stop().
  void pass();
  // For good; any thread.
  void stop() { stopped_ = true; }
  // How long pass() has made the training wait; its thread's.
  std::chrono::duration<double> waited() const { return waited_; }

 private:
  // A client that asks, reads and asks again leaves gaps that are not worth beginning in.
  static constexpr std::chrono::milliseconds kQuiet{50}, kLook{2};

  const std::function<bool()> busy_;
  std::atomic<bool> stopped_{false};
  std::chrono::duration<double> waited_{};
};

}  // namespace chorus
