#include "server/key_slots.h"

namespace chorus {

std::shared_ptr<void> KeySlots::take(const std::string& key) {
  {
    const std::lock_guard lock(counts_->mutex);
    int& count = counts_->of[key];
    if (count >= per_key_) return nullptr;
    ++count;
  }
  // Any address but null will do: null is the answer "no slot".
  return {counts_.get(), [counts = counts_, key](void*) {
            const std::lock_guard lock(counts->mutex);
            const auto found = counts->of.find(key);
            if (--found->second == 0) counts->of.erase(found);
          }};
}

}  // namespace chorus
