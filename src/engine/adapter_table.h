#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/adapter_paths.h"
#include "engine/adapter_registry.h"
#include "engine/adapter_status.h"
#include "engine/directory_watch.h"

namespace chorus {

// Whose path it is decides how far it may lead.
enum class AdapterOrigin : uint8_t { kFlag, kWatched, kRequest, kTuned };
struct AdapterSource {
  std::string path;
  AdapterOrigin origin = AdapterOrigin::kRequest;
};

// What the loader is to do for an entry of the table.
struct AdapterTask {
  uint64_t entry = 0;
  std::string name;
  AdapterSource source;
  bool asked = false;   // for by name and path, through open()
  bool replace = true;  // false: it is an error if it has been loaded by now
  AdapterVerdict known;
  AdapterStamps failed;    // the files as they were when their last load failed
  AdapterOutcome failure;  // how it did
};

// What came of it.
struct AdapterLoad {
  LoadedAdapter loaded;  // without an adapter: it failed
  AdapterOutcome outcome;
  AdapterStamps stamps;
  double seconds = 0;
};

// A thread's alarm clock that others can ring.
class Bell {
 public:
  void ring();
  // Until it rings, or rang since the last wait, or `until`; none: for ever.
  void wait(std::optional<std::chrono::steady_clock::time_point> until);

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool rang_ = false;
};

// Names, versions, users and memory of adapters: what AdapterManager knows, without its files and its thread.
// Thread-safe; no call waits for anything but the others' few instructions. What leaves the memory is freed
// by whoever calls here, never by who lets go of a handle: that may be the engine's thread.
class AdapterTable : public std::enable_shared_from_this<AdapterTable> {
 public:
  AdapterTable(size_t memory_bytes, size_t max_adapters)
      : memory_bytes_(memory_bytes), max_adapters_(max_adapters) {}

  // Puts in what is loaded already, pinned.
  void adopt(const std::string& name, AdapterRegistry::Entry loaded);

  // The handles of a mix, each a use by one request. Null: a name is not in memory.
  std::optional<AdapterSelection> lease(const std::vector<MixPart>& parts);
  bool known(const std::string& name) const;

  // A task to load `name` from where a client or a tuning says; an entry for a new name is there from now on.
  // None: see the outcome.
  std::optional<AdapterTask> open(const std::string& name, AdapterSource source, bool replace,
                                  AdapterOutcome& outcome);
  // A task to bring `name` into memory again; none: no such name.
  std::optional<AdapterTask> task(const std::string& name);
  std::optional<AdapterTask> next_wanted();  // of the watched ones
  // Ends a task: publishes what was loaded, for requests from now on, if there is room; else what was there
  // stays. `pinned`: none leaves it as it is.
  AdapterOutcome finish(const AdapterTask& task, AdapterLoad load, std::optional<bool> pinned);

  // The name is gone. `done` comes back from this call if the memory is free or `wait` is false, else from
  // collect().
  void remove(const std::string& name, bool wait, AdapterDone done);
  bool pin(const std::string& name, bool pinned);  // false: it is not in memory
  // Frees what was replaced or removed and has no user any more, and tells those who wait for it.
  void collect();
  std::vector<AdapterDone> abandon_waiting();

  // Makes the watched entries what the directory holds. How many had no place in the table.
  size_t follow(const WatchedAdapters& watched);

  std::vector<AdapterStatus> list() const;
  std::optional<AdapterStatus> find(std::string_view name) const;
  size_t resident_bytes() const;
  Bell& bell() { return bell_; }

 private:
  // One content of one name in memory.
  struct Version {
    uint64_t entry;
    LoadedAdapter loaded;
    std::atomic<int> users{0};
    size_t bytes() const { return loaded.adapter->bytes(); }
    bool same_as(const LoadedAdapter& other) const;
  };
  using Garbage = std::vector<std::unique_ptr<Version>>;  // freed after the lock

  struct Entry {
    uint64_t serial = 0;
    AdapterStatus status;  // but for what status_of() fills in
    AdapterSource source;  // of what was published last
    std::optional<AdapterSource> wanted;
    bool loading = false;
    std::unique_ptr<Version> current;
    AdapterVerdict verdict;
    AdapterStamps stamps, failed_stamps;  // of `source`; of the last load, if it failed
    AdapterOutcome failure;
    std::chrono::steady_clock::time_point retry = {};  // where there was no room
    int opened = 0;                                    // tasks of clients that have not ended
    uint64_t last_use = 0;
  };
  struct Waiting {
    uint64_t entry;
    AdapterDone done;
  };
  struct Release;

  AdapterHandle lease(Entry& entry);
  Entry& add_entry(const std::string& name, AdapterSource source);
  AdapterTask task_of(const Entry& entry, AdapterSource source) const;
  AdapterTask open_task(Entry& entry, AdapterSource source, bool replace);
  AdapterOutcome conclude(Entry& entry, const AdapterTask& task, AdapterLoad& load, Garbage& garbage);
  AdapterOutcome publish(Entry& entry, const AdapterTask& task, AdapterLoad& load, Garbage& garbage);
  bool make_room(const Entry& entry, size_t bytes, Garbage& garbage);
  void retire(Entry& entry, Garbage& garbage);
  bool in_use(uint64_t entry) const;
  bool wants(const Entry& entry, const AdapterStamps& stamps) const;
  size_t resident() const;
  AdapterStatus status_of(const Entry& entry) const;

  const size_t memory_bytes_, max_adapters_;
  Bell bell_;
  std::atomic<int> retired_count_{0};
  mutable std::mutex mutex_;
  std::map<std::string, Entry, std::less<>> entries_;
  Garbage retired_;  // replaced or removed, and in use when they were
  std::vector<Waiting> waiting_;
  WatchedAdapters watched_;
  std::map<std::string, AdapterStamps> dismissed_;  // watched, but unloaded by request as they are
  uint64_t serial_ = 0, uses_ = 0;
};

}  // namespace chorus
