#include "base/active_members.h"

#include <algorithm>
#include <utility>

namespace chorus {

void ActiveMembers::ran(Clock::time_point now, Clock::duration wall, Clock::duration lost) {
  wall_ += wall;
  lost_ += lost;
  if (wall_ < kSpell) return;
  wall = std::exchange(wall_, {});
  lost = std::exchange(lost_, {});
  if (count_ > 1 && lost * count_ > wall) {
    if (trying_) pause_ = std::min<Clock::duration>(2 * pause_, kLongestPause);
    // One is right where one is in the way; where nearly all was lost, many are.
    count_ = lost * 4 > wall * 3 ? count_ / 2 : count_ - 1;
    next_try_ = now + pause_;
    trying_ = false;
    return;
  }
  if (trying_) pause_ = kShortestPause;
  trying_ = count_ < size_ && now >= next_try_;
  if (trying_) ++count_;
}

}  // namespace chorus
