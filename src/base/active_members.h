#pragma once

#include <chrono>

namespace chorus {

// How many members of a team work, while others want the same cores. A member that is kept from running holds
// up all the others at the next barrier, so with one core too few, one member fewer is faster: its share of
// the work costs the rest 1 / count of the time.
class ActiveMembers {
 public:
  using Clock = std::chrono::steady_clock;

  explicit ActiveMembers(int size) : size_(size), count_(size) {}

  int count() const { return count_; }  // of the next run; 1..size

  // After a run that took `wall` and kept some member from running for `lost`, no other for longer. Judges
  // spells of 20 ms and takes away one member, or half of them; tries one member more 0.2 s after taking one
  // away, and after each try that failed waits twice as long, up to 3.2 s.
  void ran(Clock::time_point now, Clock::duration wall, Clock::duration lost);

 private:
  int size_, count_;
  bool trying_ = false;  // the last change added a member, and no spell has shown yet whether that was right
  Clock::duration wall_{}, lost_{};  // of this spell
  Clock::duration pause_ = kShortestPause;
  Clock::time_point next_try_{};

  static constexpr std::chrono::milliseconds kSpell{20}, kShortestPause{200}, kLongestPause{3200};
};

}  // namespace chorus
