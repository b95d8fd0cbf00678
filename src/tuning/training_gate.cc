#include "tuning/training_gate.h"

#include <thread>

#include "train/trainer.h"

namespace chorus {

void TrainingGate::pass() {
  using Clock = std::chrono::steady_clock;
  if (stopped_) throw TrainingStopped();
  if (!busy_()) return;
  const Clock::time_point began = Clock::now();
  Clock::time_point last_busy = began;
  for (Clock::time_point now = began; now - last_busy < kQuiet; now = Clock::now()) {
    if (stopped_) throw TrainingStopped();
    if (busy_()) last_busy = now;
    std::this_thread::sleep_for(kLook);
  }
  waited_ += Clock::now() - began;
}

}  // namespace chorus
