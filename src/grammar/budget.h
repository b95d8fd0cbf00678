#pragma once

#include <chrono>
#include <cstdint>

#include "base/error.h"

namespace chorus {

// What one piece of work on a grammar may cost: steps of the automaton, and time where there is a deadline.
// Steps are the same wherever the work is done; time is not, and is for compiling only.
class WorkBudget {
 public:
  using Clock = std::chrono::steady_clock;

  explicit WorkBudget(uint64_t steps) : steps_(steps) {}
  WorkBudget(uint64_t steps, Clock::time_point deadline, std::chrono::milliseconds limit)
      : steps_(steps), deadline_(deadline), limit_(limit) {}

  // Error: it is used up.
  void spend(uint64_t steps) {
    if (steps > steps_) fail("the grammar is too ambiguous: its states take too many steps to work out");
    steps_ -= steps;
    since_look_ += steps;
    if (since_look_ < kLookEvery) return;
    since_look_ = 0;
    check_time();
  }
  void check_time() const {
    if (deadline_ != Clock::time_point() && Clock::now() > deadline_)
      fail("the grammar takes longer than {} ms to compile", limit_.count());
  }

 private:
  static constexpr uint64_t kLookEvery = 4096;

  uint64_t steps_, since_look_ = 0;
  Clock::time_point deadline_ = {};
  std::chrono::milliseconds limit_ = {};
};

}  // namespace chorus
