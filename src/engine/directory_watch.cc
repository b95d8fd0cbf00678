#include "engine/directory_watch.h"

#include <utility>

namespace chorus {
namespace {

constexpr std::chrono::nanoseconds kOld = std::chrono::seconds(2);

bool is_old(const AdapterStamps& stamps) {
  const int64_t changed = last_change(stamps);
  const std::chrono::nanoseconds now = std::chrono::system_clock::now().time_since_epoch();
  return changed > 0 && now.count() - changed > kOld.count();
}

}  // namespace

const WatchedAdapters& DirectoryWatch::look() {
  // Opened anew: what the path leads to may have been exchanged.
  const FileRoot root(directory_, Links::kInside);
  WatchedAdapters now;
  for (const AdapterPlace& place : find_adapters(root)) {
    WatchedAdapter adapter{place.path, adapter_stamps(root, place.path)};
    const auto before = seen_.find(place.name);
    const bool same = before != seen_.end() && before->second.path == adapter.path &&
                      before->second.stamps == adapter.stamps;
    adapter.settled = same || is_old(adapter.stamps);
    now.emplace(place.name, std::move(adapter));
  }
  for (auto& [name, adapter] : seen_) {
    if (adapter.gone || now.contains(name)) continue;
    adapter.gone = true;
    adapter.settled = false;
    now.emplace(name, std::move(adapter));
  }
  seen_ = std::move(now);
  return seen_;
}

}  // namespace chorus
