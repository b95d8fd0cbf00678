#include "server/lora_ids.h"

#include <algorithm>

namespace chorus {

void LoraIds::add(const std::vector<std::string>& names) {
  const std::lock_guard lock(mutex_);
  for (const std::string& name : names) {
    if (std::ranges::find(entries_, name, &Entry::name) == entries_.end())
      entries_.push_back({static_cast<int64_t>(entries_.size()), name, 0});
  }
}

std::vector<LoraIds::Entry> LoraIds::entries() const {
  const std::lock_guard lock(mutex_);
  return entries_;
}

std::optional<std::string> LoraIds::name_of(int64_t id) const {
  const std::lock_guard lock(mutex_);
  if (id < 0 || id >= static_cast<int64_t>(entries_.size())) return std::nullopt;
  return entries_[static_cast<size_t>(id)].name;
}

bool LoraIds::set_scales(const std::vector<std::pair<int64_t, float>>& scales) {
  const std::lock_guard lock(mutex_);
  const auto known = [&](const auto& scale) {
    return scale.first >= 0 && scale.first < static_cast<int64_t>(entries_.size());
  };
  if (!std::ranges::all_of(scales, known)) return false;
  for (Entry& entry : entries_) entry.scale = 0;
  for (const auto& [id, scale] : scales) entries_[static_cast<size_t>(id)].scale = scale;
  return true;
}

std::vector<MixPart> LoraIds::defaults() const {
  const std::lock_guard lock(mutex_);
  std::vector<MixPart> parts;
  for (const Entry& entry : entries_) {
    if (entry.scale != 0) parts.push_back({entry.name, entry.scale});
  }
  return parts;
}

}  // namespace chorus
