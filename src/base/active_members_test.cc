#include "base/active_members.h"

#include <gtest/gtest.h>

namespace chorus {
namespace {

using namespace std::chrono_literals;

// Runs of 5 ms, in which as many members as there are above `cores` cost half of the time.
struct Machine {
  int cores;
  ActiveMembers members{4};
  ActiveMembers::Clock::time_point now{};
  int crowded_runs = 0;

  void run_for(std::chrono::milliseconds time) {
    for (const auto end = now + time; now < end;) {
      now += 5ms;
      const bool crowded = members.count() > cores;
      crowded_runs += crowded ? 1 : 0;
      members.ran(now, 5ms, crowded ? 2500us : 0us);
    }
  }
};

TEST(ActiveMembers, AreAllWhileTheyRun) {
  Machine machine{4};
  machine.run_for(1s);
  EXPECT_EQ(machine.members.count(), 4);
}

TEST(ActiveMembers, AShortDelayIsNoReason) {
  ActiveMembers members(4);
  for (int i = 0; i < 100; ++i) members.ran({}, 5ms, i % 4 == 0 ? 4ms : 0ms);  // a fifth of the time
  EXPECT_EQ(members.count(), 4);
}

TEST(ActiveMembers, GiveWayAndComeBack) {
  Machine machine{3};
  machine.run_for(20ms);
  EXPECT_EQ(machine.members.count(), 3);
  machine.run_for(20s);
  EXPECT_LT(machine.crowded_runs, 60);  // of 4,000: tries are ever rarer
  machine.cores = 4;
  machine.run_for(4s);
  EXPECT_EQ(machine.members.count(), 4);
  machine.crowded_runs = 0;
  machine.run_for(4s);
  EXPECT_EQ(machine.crowded_runs, 0);
}

TEST(ActiveMembers, OneIsAlwaysLeft) {
  Machine machine{0};
  machine.run_for(10s);
  EXPECT_LE(machine.members.count(), 2);
  EXPECT_GE(machine.members.count(), 1);
}

}  // namespace
}  // namespace chorus
