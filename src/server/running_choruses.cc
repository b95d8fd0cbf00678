#include "server/running_choruses.h"

namespace chorus {

void RunningChoruses::add(const std::string& id, const std::shared_ptr<ChorusAnswer>& answer) {
  const std::lock_guard lock(mutex_);
  std::erase_if(answers_, [](const auto& entry) { return entry.second.expired(); });
  answers_[id] = answer;
}

std::shared_ptr<ChorusAnswer> RunningChoruses::find(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = answers_.find(id);
  return found == answers_.end() ? nullptr : found->second.lock();
}

}  // namespace chorus
