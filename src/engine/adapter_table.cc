#include "engine/adapter_table.h"

#include <algorithm>
#include <chrono>
#include <ctime>

#include "base/error.h"

namespace chorus {
namespace {

constexpr std::chrono::seconds kRetry(10);  // of a watched adapter for which there was no room

}  // namespace

void Bell::ring() {
  {
    const std::lock_guard lock(mutex_);
    rang_ = true;
  }
  condition_.notify_one();
}

void Bell::wait(std::optional<std::chrono::steady_clock::time_point> until) {
  std::unique_lock lock(mutex_);
  const auto rang = [this] { return rang_; };
  if (until) {
    condition_.wait_until(lock, *until, rang);
  } else {
    condition_.wait(lock, rang);
  }
  rang_ = false;
}

// What the last copy of a request's handle does, on whatever thread. The version may be freed as soon as it
// has no user. Either this sees that it was retired, or who retired it sees that it has no user.
struct AdapterTable::Release {
  std::shared_ptr<AdapterTable> table;
  Version* version;
  void operator()(const Adapter*) const {
    if (version->users.fetch_sub(1) == 1 && table->retired_count_ > 0) table->bell_.ring();
  }
};

bool AdapterTable::Version::same_as(const LoadedAdapter& other) const {
  const ChatTemplate *own = loaded.chat_template.get(), *others = other.chat_template.get();
  const bool same_template =
      own == nullptr || others == nullptr ? own == others : own->source() == others->source();
  return same_template && loaded.adapter->id() == other.adapter->id() &&
         loaded.adapter->form() == other.adapter->form();
}

AdapterTable::Entry& AdapterTable::add_entry(const std::string& name, AdapterSource source) {
  Entry& entry = entries_[name];
  entry.serial = ++serial_;
  entry.status.name = name;
  entry.status.path = source.path;
  entry.status.watched = source.origin == AdapterOrigin::kWatched;
  entry.source = std::move(source);
  return entry;
}

void AdapterTable::adopt(const std::string& name, AdapterRegistry::Entry loaded) {
  const std::lock_guard lock(mutex_);
  Entry& entry = add_entry(name, {std::move(loaded.path), AdapterOrigin::kFlag});
  AdapterLoad load;
  load.loaded = std::move(loaded.loaded);
  Garbage none;
  entry.status.pinned = true;
  publish(entry, task_of(entry, entry.source), load, none);
}

AdapterHandle AdapterTable::lease(Entry& entry) {
  entry.last_use = ++uses_;
  entry.current->users.fetch_add(1);
  return {entry.current->loaded.adapter.get(), Release{shared_from_this(), entry.current.get()}};
}

std::optional<AdapterSelection> AdapterTable::lease(const std::vector<MixPart>& parts) {
  AdapterSelection selection;  // before the lock: it is dropped after it
  const std::lock_guard lock(mutex_);
  for (const MixPart& part : parts) {
    const auto it = entries_.find(part.name);
    if (it == entries_.end() || it->second.current == nullptr) return std::nullopt;
    selection.uses.push_back({lease(it->second), part.scale});
    if (parts.size() == 1) selection.chat_template = it->second.current->loaded.chat_template;
  }
  return selection;
}

bool AdapterTable::known(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  return entries_.contains(name);
}

AdapterTask AdapterTable::task_of(const Entry& entry, AdapterSource source) const {
  AdapterTask task{entry.serial, entry.status.name, std::move(source), false, true, entry.verdict, {}, {}};
  if (entry.failure.problem != AdapterProblem::kNoMemory) {
    task.failed = entry.failed_stamps;
    task.failure = entry.failure;
  }
  return task;
}

// Who asks by name wants it tried again.
AdapterTask AdapterTable::open_task(Entry& entry, AdapterSource source, bool replace) {
  ++entry.opened;
  AdapterTask task = task_of(entry, std::move(source));
  task.asked = true;
  task.replace = replace;
  task.failed.clear();
  return task;
}

std::optional<AdapterTask> AdapterTable::open(const std::string& name, AdapterSource source, bool replace,
                                              AdapterOutcome& outcome) {
  const std::lock_guard lock(mutex_);
  const auto watched = watched_.find(name);
  if (source.origin == AdapterOrigin::kRequest && watched != watched_.end() &&
      watched->second.path == source.path)
    source.origin = AdapterOrigin::kWatched;
  const auto it = entries_.find(name);
  if (it != entries_.end()) {
    if (it->second.status.loads > 0 && !replace) {
      outcome = {AdapterProblem::kExists, fmt::format("adapter {} is loaded already", name)};
      return std::nullopt;
    }
    return open_task(it->second, std::move(source), replace);
  }
  if (entries_.size() >= max_adapters_) {
    outcome = {AdapterProblem::kNoMemory,
               fmt::format("adapter {}: there are {} adapters, as many as are allowed", name, max_adapters_)};
    return std::nullopt;
  }
  dismissed_.erase(name);
  return open_task(add_entry(name, source), source, replace);
}

std::optional<AdapterTask> AdapterTable::task(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(name);
  if (it == entries_.end()) return std::nullopt;
  Entry& entry = it->second;
  entry.loading = true;
  return task_of(entry, entry.wanted.value_or(entry.source));
}

std::optional<AdapterTask> AdapterTable::next_wanted() {
  const std::lock_guard lock(mutex_);
  const auto it =
      std::ranges::find_if(entries_, [](const auto& item) { return item.second.wanted.has_value(); });
  if (it == entries_.end()) return std::nullopt;
  it->second.loading = true;
  return task_of(it->second, *it->second.wanted);
}

size_t AdapterTable::resident() const {
  size_t bytes = 0;
  for (const auto& [name, entry] : entries_) bytes += entry.current == nullptr ? 0 : entry.current->bytes();
  for (const auto& version : retired_) bytes += version->bytes();
  return bytes;
}

// All of it or nothing: `bytes` more for the entry, whose own version goes if nobody uses it. A version
// without users gets none meanwhile, as leases are given under the lock.
bool AdapterTable::make_room(const Entry& entry, size_t bytes, Garbage& garbage) {
  if (memory_bytes_ == 0) return true;
  size_t after = resident() + bytes;
  if (entry.current != nullptr && entry.current->users == 0) after -= entry.current->bytes();
  std::vector<Entry*> idle;
  for (auto& [name, other] : entries_) {
    if (&other == &entry || other.status.pinned || other.current == nullptr) continue;
    if (other.current->users == 0) idle.push_back(&other);
  }
  std::ranges::sort(idle, {}, &Entry::last_use);
  size_t leaving = 0;
  for (; after > memory_bytes_ && leaving < idle.size(); ++leaving) after -= idle[leaving]->current->bytes();
  if (after > memory_bytes_) return false;
  for (size_t i = 0; i < leaving; ++i) garbage.push_back(std::move(idle[i]->current));
  return true;
}

void AdapterTable::retire(Entry& entry, Garbage& garbage) {
  if (entry.current == nullptr) return;
  ++retired_count_;
  const bool used = entry.current->users > 0;
  if (!used) --retired_count_;
  (used ? retired_ : garbage).push_back(std::move(entry.current));
}

AdapterOutcome AdapterTable::publish(Entry& entry, const AdapterTask& task, AdapterLoad& load,
                                     Garbage& garbage) {
  const Adapter& adapter = *load.loaded.adapter;
  AdapterStatus& status = entry.status;
  std::vector<std::string> warnings = load.loaded.warnings;
  if (entry.current == nullptr || !entry.current->same_as(load.loaded)) {
    auto version = std::make_unique<Version>(entry.serial, std::move(load.loaded));
    if (!make_room(entry, version->bytes(), garbage)) {
      garbage.push_back(std::move(version));
      return {AdapterProblem::kNoMemory,
              fmt::format("adapter {} needs {:.1f} MB; of the {:.1f} MB for adapters, too much is held by "
                          "those that are in use or pinned",
                          task.name, static_cast<double>(adapter.bytes()) / 1e6,
                          static_cast<double>(memory_bytes_) / 1e6)};
    }
    retire(entry, garbage);
    entry.current = std::move(version);
  }
  entry.verdict = {adapter.id(), adapter.form(), entry.current->loaded.divergence};
  entry.source = task.source;
  entry.stamps = std::move(load.stamps);
  entry.last_use = ++uses_;
  status.path = task.source.path;
  status.watched = task.source.origin == AdapterOrigin::kWatched;
  status.id = adapter.id();
  status.rank = adapter.max_rank();
  status.form = adapter.form();
  status.load_seconds = load.seconds;
  status.warnings = std::move(warnings);
  if (status.loads++ == 0) status.created = std::time(nullptr);
  return {};
}

AdapterOutcome AdapterTable::conclude(Entry& entry, const AdapterTask& task, AdapterLoad& load,
                                      Garbage& garbage) {
  if (!task.replace && entry.status.loads > 0)
    return {AdapterProblem::kExists, fmt::format("adapter {} is loaded already", task.name)};
  AdapterOutcome outcome = load.outcome;
  AdapterStamps stamps = load.stamps;
  if (load.loaded.adapter != nullptr) outcome = publish(entry, task, load, garbage);
  const bool good = outcome.problem == AdapterProblem::kNone;
  entry.failed_stamps = good ? AdapterStamps() : std::move(stamps);
  entry.failure = outcome;
  entry.retry = std::chrono::steady_clock::now() + kRetry;
  entry.status.error = outcome.message;
  return outcome;
}

AdapterOutcome AdapterTable::finish(const AdapterTask& task, AdapterLoad load, std::optional<bool> pinned) {
  Garbage garbage;  // freed after the lock
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(task.name);
  if (it == entries_.end() || it->second.serial != task.entry)
    return {AdapterProblem::kNotFound,
            fmt::format("adapter {} was unloaded while it was loading", task.name)};
  Entry& entry = it->second;
  entry.loading = false;
  entry.opened -= task.asked ? 1 : 0;
  if (entry.wanted && entry.wanted->path == task.source.path) entry.wanted.reset();
  AdapterOutcome outcome = conclude(entry, task, load, garbage);
  if (outcome.problem == AdapterProblem::kNone && pinned) entry.status.pinned = *pinned;
  // It never was more than what a client asked for.
  if (entry.status.loads == 0 && !entry.status.watched && entry.opened == 0) entries_.erase(it);
  return outcome;
}

bool AdapterTable::in_use(uint64_t entry) const {
  return std::ranges::any_of(retired_, [&](const auto& version) { return version->entry == entry; });
}

void AdapterTable::remove(const std::string& name, bool wait, AdapterDone done) {
  AdapterOutcome outcome;
  {
    Garbage garbage;
    const std::lock_guard lock(mutex_);
    const auto it = entries_.find(name);
    if (it == entries_.end()) {
      outcome = {AdapterProblem::kNotFound, fmt::format("no adapter {}", printable(name))};
    } else {
      Entry& entry = it->second;
      if (const auto watched = watched_.find(name); entry.status.watched && watched != watched_.end())
        dismissed_[name] = watched->second.stamps;
      retire(entry, garbage);
      const uint64_t serial = entry.serial;
      entries_.erase(it);
      if (wait && in_use(serial)) {
        waiting_.push_back({serial, std::move(done)});
        return;
      }
    }
  }
  done(outcome);
}

bool AdapterTable::pin(const std::string& name, bool pinned) {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(name);
  if (it == entries_.end()) return true;
  it->second.status.pinned = pinned;
  return it->second.current != nullptr;
}

void AdapterTable::collect() {
  if (retired_count_ == 0) return;
  std::vector<AdapterDone> told;
  {
    Garbage garbage;
    const std::lock_guard lock(mutex_);
    const auto unused =
        std::ranges::partition(retired_, [](const auto& version) { return version->users > 0; });
    retired_count_ -= static_cast<int>(unused.size());
    garbage.assign(std::make_move_iterator(unused.begin()), std::make_move_iterator(unused.end()));
    retired_.erase(unused.begin(), unused.end());
    const auto over = std::ranges::partition(waiting_, [&](const Waiting& w) { return in_use(w.entry); });
    for (Waiting& waiting : over) told.push_back(std::move(waiting.done));
    waiting_.erase(over.begin(), over.end());
  }
  for (const AdapterDone& done : told) done({});
}

std::vector<AdapterDone> AdapterTable::abandon_waiting() {
  const std::lock_guard lock(mutex_);
  std::vector<AdapterDone> dones;
  for (Waiting& waiting : waiting_) dones.push_back(std::move(waiting.done));
  waiting_.clear();
  return dones;
}

// Its files are other than those in use, and not known to be bad.
bool AdapterTable::wants(const Entry& entry, const AdapterStamps& stamps) const {
  const bool untried = entry.status.loads == 0 && entry.failure.problem == AdapterProblem::kNone;
  const bool retry =
      entry.failure.problem == AdapterProblem::kNoMemory && std::chrono::steady_clock::now() >= entry.retry;
  return untried || (stamps != entry.stamps && (stamps != entry.failed_stamps || retry));
}

size_t AdapterTable::follow(const WatchedAdapters& watched) {
  Garbage garbage;
  const std::lock_guard lock(mutex_);
  watched_ = watched;
  std::erase_if(dismissed_, [&](const auto& item) {
    const auto found = watched.find(item.first);
    return found == watched.end() || (found->second.settled && found->second.stamps != item.second);
  });
  for (auto it = entries_.begin(); it != entries_.end();) {
    const bool gone = it->second.status.watched && !watched.contains(it->first);
    if (gone) retire(it->second, garbage);
    it = gone ? entries_.erase(it) : std::next(it);
  }
  size_t left_out = 0;
  for (const auto& [name, adapter] : watched) {
    if (!adapter.settled || dismissed_.contains(name)) continue;
    const AdapterSource source{adapter.path, AdapterOrigin::kWatched};
    const auto it = entries_.find(name);
    if (it == entries_.end() && entries_.size() >= max_adapters_) {
      ++left_out;
      continue;
    }
    Entry& entry = it == entries_.end() ? add_entry(name, source) : it->second;
    if (entry.source.origin == AdapterOrigin::kRequest && entry.source.path == adapter.path)
      entry.status.watched = true;        // it was asked for before it was seen
    if (!entry.status.watched) continue;  // a name that was loaded by hand is not the directory's
    if (wants(entry, adapter.stamps)) entry.wanted = source;
  }
  return left_out;
}

AdapterStatus AdapterTable::status_of(const Entry& entry) const {
  AdapterStatus status = entry.status;
  status.name = printable(status.name, 300);
  status.path = printable(status.path, 300);
  for (const auto& version : retired_) {
    if (version->entry == entry.serial) status.users += version->users;
  }
  if (entry.current != nullptr) {
    status.residency = Residency::kReady;
    status.users += entry.current->users;
    status.bytes = entry.current->bytes();
  } else if (!entry.loading && !status.error.empty()) {
    status.residency = Residency::kFailed;
  } else if (!entry.loading && status.loads > 0) {
    status.residency = Residency::kOnDisk;
  }
  return status;
}

std::vector<AdapterStatus> AdapterTable::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<AdapterStatus> all;
  for (const auto& [name, entry] : entries_) all.push_back(status_of(entry));
  return all;
}

std::optional<AdapterStatus> AdapterTable::find(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  const auto it = entries_.find(name);
  if (it == entries_.end()) return std::nullopt;
  return status_of(it->second);
}

size_t AdapterTable::resident_bytes() const {
  const std::lock_guard lock(mutex_);
  return resident();
}

}  // namespace chorus
