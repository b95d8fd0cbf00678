#include "base/active_members.h"

#include <algorithm>

namespace chorus {

void ActiveMembers::ran(Clock::time_point now, Clock::duration wall, Clock::duration lost) {
  wall_ += wall;
  lost_ += lost;
  if (wall_ < kSpell) return;
  const bool crowded = count_ > 1 && lost_ * count_ > wall_;
  wall_ = lost_ = {};
  if (crowded) {
    if (trying_) pause_ = std::min<Clock::duration>(2 * pause_, kLongestPause);
    --count_;
    next_try_ = now + pause_;
    trying_ = false;
    return;
  }
  if (trying_) pause_ = kShortestPause;
  trying_ = count_ < size_ && now >= next_try_;
  if (trying_) ++count_;
}

}  // namespace chorus
