#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/adapter_registry.h"
#include "engine/adapter_status.h"

namespace chorus {

struct AdapterManagerOptions {
  // That is watched, and beneath which loads are allowed; empty: neither. It may itself be reached through
  // links. Its entries may be links that stay inside, as the volumes of Kubernetes are made; a path that a
  // client gives goes through no link at all. Files must belong to this user, to root or to its owner.
  std::string directory;
  std::string tuned_directory;  // beneath which are those that publish() loads; empty: there are none
  size_t memory_bytes = 0;      // of adapters in memory, but for the load at hand; 0: no bound
  size_t max_file_bytes = size_t{2} << 30;
  int max_rank = 256;
  int max_adapters = 1024;
  std::chrono::milliseconds poll{500};       // how often the directory is looked at
  std::vector<std::string> base_names = {};  // of the base besides those that the registry knows
  // Hears what is odd about content that was loaded for the first time; on the loader's thread. Must not
  // throw.
  std::function<void(const std::string& name, const std::string& warning)> warn = {};
};

// Adapters that come and go while the engine runs. The directory is the desired state of the names in it: a
// file or folder that appears is loaded once nobody writes to it any more, one that changes is loaded anew,
// one that is gone is unloaded; what cannot be loaded keeps the version before and is tried again when it
// changes. A name that a flag or a client loaded from elsewhere is not the directory's. Files are read,
// checked, packed and probed on a thread of its own; nothing here is ever called on the engine's thread, and
// a request holds the version that it began with. Over the budget, the adapter used longest ago and not
// pinned goes back to disk and is loaded again when it is asked for. Thread-safe.
class AdapterManager {
 public:
  // On the loader's thread, or at once on the caller's where nothing has to be waited for. Must not throw.
  using Done = AdapterDone;

  // `registry` must outlive it, and is empty from then on: what was in it counts as loaded from its flag and
  // pinned. Watching begins at once: the first look at the directory is done when this returns, the loads are
  // not. Error: the directory cannot be read.
  AdapterManager(AdapterRegistry& registry, AdapterManagerOptions options);
  // Waits for the load at hand; what else was asked for ends with kStopping. Requests may go on with what
  // they hold.
  ~AdapterManager();

  // Loads NAME from a path relative to the directory (or an absolute one beneath it). `replace`: a name that
  // exists gets the new content for requests from then on; without it, that is kExists.
  void load(const std::string& name, const std::string& path, bool replace, bool pinned, Done done);
  // Loads NAME, or NAME@STEP (see without_step()), from a path relative to the directory of what was tuned;
  // in place of what is called so.
  void publish(const std::string& name, const std::string& path, Done done);
  // The name is gone at once; `done` is called when the last request has let go of it and its memory is
  // free, or at once where `wait` is false. A watched name comes back when its files change.
  void unload(const std::string& name, bool wait, Done done);
  // Error: NAME is none that an adapter may have.
  void require_name(std::string_view name) const;
  // Loads and checks without publishing anything; the status is what it would be.
  void validate(const std::string& path,
                std::function<void(const AdapterOutcome&, const AdapterStatus&)> done);
  void pin(const std::string& name, bool pinned);  // of an adapter on disk: loads it

  // Makes every adapter of a mix resident and hands over its uses; at once, on this thread, where they are.
  // A name that is not known: kNotFound. Counts as a use for who leaves the memory next. The handles are this
  // request's own: what they hold stays in memory until the last copy of each is gone.
  using Acquired = std::function<void(const AdapterOutcome& outcome, AdapterSelection selection)>;
  void acquire(const std::vector<MixPart>& parts, Acquired done);

  std::vector<AdapterStatus> list() const;  // by name
  std::optional<AdapterStatus> find(std::string_view name) const;
  bool known(std::string_view name) const;  // loaded, loading or on disk
  size_t resident_bytes() const;  // with versions that were replaced or unloaded and are still in use
  size_t memory_bytes() const { return options_.memory_bytes; }
  const std::string& directory() const { return options_.directory; }
  int max_adapters() const { return options_.max_adapters; }
  // Whether what the directory held at the start has been loaded or refused; from then on, for good. Files
  // that somebody keeps writing to are not waited for.
  bool caught_up() const;
  // Why the last look at the directory failed, or what it left out; empty: all is well.
  std::string directory_problem() const;

 private:
  AdapterManagerOptions options_;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace chorus
