#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/adapter_registry.h"

namespace chorus {

struct AdapterManagerOptions {
  std::string directory;    // that is watched and beneath which loads are allowed; empty: neither
  size_t memory_bytes = 0;  // of adapters in memory; 0: no bound
  size_t max_file_bytes = size_t{2} << 30;
  int max_rank = 256;
  int max_adapters = 1024;
  std::chrono::milliseconds poll{500};  // how often the directory is looked at
};

enum class Residency : uint8_t { kLoading, kReady, kOnDisk, kFailed };

// What is known of one adapter; a copy.
struct AdapterStatus {
  std::string name, path;
  std::string id;  // content hash, hex; empty until it was loaded once
  Residency residency = Residency::kLoading;
  bool pinned = false;   // never leaves the memory
  bool watched = false;  // comes from the directory
  int rank = 0;
  AdapterForm form = AdapterForm::kExact;
  size_t bytes = 0;         // in memory, when it is there
  int users = 0;            // requests that hold a version of this name
  double load_seconds = 0;  // of the last load
  uint64_t loads = 0;
  std::string error;    // why the last load failed; the version before it stays in use
  int64_t created = 0;  // seconds since 1970, of the first load
};

// Why a load or an unload could not be done.
enum class AdapterProblem : uint8_t { kNone, kBadName, kExists, kNotFound, kRefused, kNoMemory };
struct AdapterOutcome {
  AdapterProblem problem = AdapterProblem::kNone;
  std::string message;  // one line, no path in it; empty: all is well
};

// Adapters that come and go while the engine runs. Files are read, checked, packed and probed on a thread of
// its own; nothing here is ever called on the engine's thread, and a request holds the version that it began
// with. Over the budget, the adapter used longest ago and not pinned goes back to disk and is loaded again
// when it is asked for. Thread-safe.
class AdapterManager {
 public:
  using Done = std::function<void(const AdapterOutcome& outcome)>;  // on the loader's thread

  // `registry` must outlive it; what is in it already counts as loaded from its flag and pinned. Watching
  // begins at once: the first look at the directory is done when this returns.
  AdapterManager(AdapterRegistry& registry, AdapterManagerOptions options);
  ~AdapterManager();  // waits for the load at hand

  // Loads NAME from a path relative to the directory (or an absolute one beneath it). `replace`: a name that
  // exists gets the new content for requests from then on; without it, that is kExists.
  void load(const std::string& name, const std::string& path, bool replace, bool pinned, Done done);
  // The name is gone at once; `done` is called when the last request has let go of it and its memory is
  // free, or at once where `wait` is false.
  void unload(const std::string& name, bool wait, Done done);
  // Loads and checks without publishing anything; the status is what it would be.
  void validate(const std::string& path,
                std::function<void(const AdapterOutcome&, const AdapterStatus&)> done);
  void pin(const std::string& name, bool pinned);

  // Makes every adapter of a mix resident and hands over its uses; at once, on this thread, where they are.
  // A name that is not known: kNotFound. Counts as a use for who leaves the memory next.
  using Acquired = std::function<void(const AdapterOutcome& outcome, std::vector<AdapterUse> uses)>;
  void acquire(const std::vector<MixPart>& parts, Acquired done);

  std::vector<AdapterStatus> list() const;  // by name
  std::optional<AdapterStatus> find(std::string_view name) const;
  size_t resident_bytes() const;
  size_t memory_bytes() const { return options_.memory_bytes; }

 private:
  AdapterManagerOptions options_;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace chorus
