#include "tuning/training_gate.h"

#include <gtest/gtest.h>

#include <thread>

#include "train/trainer.h"

namespace chorus {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

TEST(TrainingGate, IsOpenWhileNobodyIsBusy) {
  int asked = 0;
  TrainingGate gate([&] {
    ++asked;
    return false;
  });
  for (int i = 0; i < 1000; ++i) gate.pass();
  EXPECT_EQ(asked, 1000);
  EXPECT_EQ(gate.waited().count(), 0);
}

TEST(TrainingGate, WaitsUntilItHasBeenQuietForAWhile) {
  const Clock::time_point began = Clock::now();
  Clock::time_point last_busy = began;
  TrainingGate gate([&] {
    const Clock::time_point now = Clock::now();
    const bool busy = now < began + 100ms || (now > began + 120ms && now < began + 150ms);
    if (busy) last_busy = now;
    return busy;
  });
  gate.pass();
  EXPECT_GE(Clock::now() - last_busy, 50ms) << "the gap of 20 ms was none";
  EXPECT_GE(gate.waited(), 100ms);
}

TEST(TrainingGate, StopEndsAWaitAndAllThatFollow) {
  TrainingGate gate([] { return true; });
  std::jthread stopper([&] {
    std::this_thread::sleep_for(20ms);
    gate.stop();
  });
  EXPECT_THROW(gate.pass(), TrainingStopped);
  EXPECT_THROW(gate.pass(), TrainingStopped);
  TrainingGate open([] { return false; });
  open.stop();
  EXPECT_THROW(open.pass(), TrainingStopped);
}

}  // namespace
}  // namespace chorus
