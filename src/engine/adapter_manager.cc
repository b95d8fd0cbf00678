#include "engine/adapter_manager.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#include "base/background_thread.h"
#include "base/error.h"
#include "engine/adapter_table.h"
#include "engine/directory_watch.h"

namespace chorus {
namespace {

using Clock = std::chrono::steady_clock;

// So many looks at the directory an adapter that somebody writes to is waited for at the start.
constexpr int kFirstLooks = 4;

const AdapterOutcome kStopped = {AdapterProblem::kStopping, "the server is stopping"};

AdapterOutcome not_found(std::string_view name) {
  return {AdapterProblem::kNotFound, fmt::format("no adapter \"{}\"", printable(name))};
}

// A file of which no form would fit into the memory need not be read.
size_t largest_file(const AdapterManagerOptions& options) {
  if (options.memory_bytes == 0) return options.max_file_bytes;
  constexpr size_t kShrink = 4, kHeader = size_t{1} << 20;  // 32 bits become 8 and their scales
  return std::min(options.max_file_bytes,
                  std::min(options.memory_bytes, options.max_file_bytes / kShrink) * kShrink + kHeader);
}

// A flag's path is the operator's business.
std::string without_path(std::string text, const AdapterSource& source, const std::string& name) {
  if (source.origin != AdapterOrigin::kFlag || source.path.empty()) return text;
  for (size_t at; (at = text.find(source.path)) != std::string::npos;) {
    text.replace(at, source.path.size(), "");
  }
  return fmt::format("adapter {}: {}", name, text);
}

}  // namespace

struct AdapterManager::Impl {
  // Runs on the loader's thread; where that is stopping it only tells so.
  using Job = std::function<void(bool stopping)>;

  // Asked for and not begun; more of the same join it.
  struct PendingLoad {
    PendingLoad(AdapterTask t, bool p) : task(std::move(t)), pinned(p) {}
    AdapterTask task;
    bool pinned;
    std::vector<Done> dones;
  };

  Impl(AdapterRegistry& registry, const AdapterManagerOptions& o)
      : loader(registry.loader()), options(o), watch(o.directory), prefixes(directory_prefixes(o.directory)) {
    for (auto& [name, entry] : registry.take()) table->adopt(name, std::move(entry));
    if (!options.directory.empty()) {
      follow();
      next_look = Clock::now() + options.poll;
    }
    caught_up = !next_look;
    thread = std::jthread([this](const std::stop_token& stop) { run(stop); });
  }

  ~Impl() {
    thread.request_stop();
    table->bell().ring();
    thread.join();
    for (const Job& job : jobs) job(true);
    for (const AdapterDone& done : table->abandon_waiting()) done(kStopped);
  }

  void run(const std::stop_token& stop);
  void look();
  size_t follow();
  void submit(Job job);
  bool run_job();

  FileRoot root_of(const AdapterSource& source) const;
  void check_name(std::string_view name) const;
  void open(const std::string& name, const AdapterSource& source, bool replace, bool pinned, Done done);
  std::optional<std::string> allowed_path(std::string_view path, AdapterOutcome& outcome) const;
  AdapterLoad read(const AdapterTask& task) const;
  void read_files(const AdapterTask& task, AdapterLoad& load) const;
  AdapterOutcome load_again(const std::string& name);
  void start(const std::shared_ptr<PendingLoad>& load, bool stopping);
  void acquire(const std::vector<MixPart>& parts, const Acquired& done);

  const AdapterLoader& loader;
  const AdapterManagerOptions& options;
  const size_t max_file_bytes = largest_file(options);
  const std::shared_ptr<AdapterTable> table =
      std::make_shared<AdapterTable>(options.memory_bytes, static_cast<size_t>(options.max_adapters));
  DirectoryWatch watch;
  const std::vector<std::string> prefixes;
  std::optional<Clock::time_point> next_look;
  int first_looks = 0;  // so far, at most kFirstLooks
  std::atomic<bool> caught_up = false;
  mutable std::mutex mutex;  // of what follows
  std::deque<Job> jobs;
  std::vector<std::shared_ptr<PendingLoad>> pending;
  std::string problem;
  std::jthread thread;
};

void AdapterManager::Impl::run(const std::stop_token& stop) {
  run_in_background();
  while (!stop.stop_requested()) {
    table->collect();
    if (next_look && Clock::now() >= *next_look) {
      look();
    } else if (run_job()) {
    } else if (const std::optional<AdapterTask> task = table->next_wanted()) {
      table->finish(*task, read(*task), std::nullopt);
    } else {
      if (first_looks == kFirstLooks) caught_up = true;
      table->bell().wait(next_look);
    }
  }
}

// Returns how many adapters of the directory there is no room for.
size_t AdapterManager::Impl::follow() {
  const WatchedAdapters& seen = watch.look();
  const bool settled = std::ranges::all_of(seen, [](const auto& entry) { return entry.second.settled; });
  first_looks = settled ? kFirstLooks : std::min(first_looks + 1, kFirstLooks);
  return table->follow(seen);
}

// A directory that cannot be read is no empty one: all stays as it is.
void AdapterManager::Impl::look() {
  std::string found;
  try {
    if (const size_t left_out = follow(); left_out > 0)
      found = fmt::format("{} adapters are left out: at most {} are allowed", left_out, options.max_adapters);
  } catch (const std::exception& error) {
    found = error.what();
  }
  next_look = Clock::now() + options.poll;
  const std::lock_guard lock(mutex);
  problem = std::move(found);
}

void AdapterManager::Impl::submit(Job job) {
  {
    const std::lock_guard lock(mutex);
    jobs.push_back(std::move(job));
  }
  table->bell().ring();
}

bool AdapterManager::Impl::run_job() {
  Job job;
  {
    const std::lock_guard lock(mutex);
    if (jobs.empty()) return false;
    job = std::move(jobs.front());
    jobs.pop_front();
  }
  job(false);
  return true;
}

FileRoot AdapterManager::Impl::root_of(const AdapterSource& source) const {
  if (source.origin == AdapterOrigin::kFlag) return {};
  if (source.origin == AdapterOrigin::kTuned) return {options.tuned_directory, Links::kRefuse};
  const Links links = source.origin == AdapterOrigin::kWatched ? Links::kInside : Links::kRefuse;
  try {
    return {options.directory, links, max_file_bytes};
  } catch (const Error&) {  // whose text has the whole path
    fail("the directory of the adapters cannot be opened");
  }
}

void AdapterManager::Impl::check_name(std::string_view name) const {
  loader.require_name(name);
  if (std::ranges::find(options.base_names, name) != options.base_names.end())
    fail("adapter name \"{}\" is the base's", name);
}

void AdapterManager::Impl::read_files(const AdapterTask& task, AdapterLoad& load) const {
  const FileRoot root = root_of(task.source);
  const std::string& path = task.source.path;
  load.stamps = adapter_stamps(root, path);
  const bool tuned = task.source.origin == AdapterOrigin::kTuned;
  if (!task.name.empty()) check_name(tuned ? without_step(task.name) : task.name);
  if (!task.failed.empty() && load.stamps == task.failed) {
    load.outcome = task.failure;
    return;
  }
  if (root.is_missing(path)) {
    load.outcome = {AdapterProblem::kNotFound,
                    fmt::format("{}: no such file or directory", printable(path, 300))};
    return;
  }
  LoadedAdapter loaded =
      loader.load(root, path, {.max_rank = options.max_rank, .probe_threads = 1, .known = &task.known});
  if (adapter_stamps(root_of(task.source), path) != load.stamps)
    fail("{}: the files changed while they were read", printable(path, 300));
  load.loaded = std::move(loaded);
  if (!options.warn || task.name.empty() || task.known.id == load.loaded.adapter->id()) return;
  for (const std::string& warning : load.loaded.warnings) options.warn(task.name, warning);
}

AdapterLoad AdapterManager::Impl::read(const AdapterTask& task) const {
  AdapterLoad load;
  const Clock::time_point began = Clock::now();
  try {
    read_files(task, load);
  } catch (const Error& error) {
    load.outcome = {AdapterProblem::kRefused, error.what()};
  } catch (const std::bad_alloc&) {
    load.outcome = {AdapterProblem::kNoMemory, "there is not enough memory to load the adapter"};
  } catch (const std::exception&) {
    load.outcome = {AdapterProblem::kRefused, "the adapter cannot be loaded"};
  }
  if (!load.outcome.message.empty())
    load.outcome.message = without_path(std::move(load.outcome.message), task.source, task.name);
  load.seconds = std::chrono::duration<double>(Clock::now() - began).count();
  return load;
}

AdapterOutcome AdapterManager::Impl::load_again(const std::string& name) {
  const std::optional<AdapterTask> task = table->task(name);
  if (!task) return not_found(name);
  return table->finish(*task, read(*task), std::nullopt);
}

void AdapterManager::Impl::start(const std::shared_ptr<PendingLoad>& load, bool stopping) {
  std::vector<Done> dones;
  {
    const std::lock_guard lock(mutex);
    std::erase(pending, load);
    dones = std::move(load->dones);
  }
  const AdapterOutcome outcome =
      stopping ? kStopped : table->finish(load->task, read(load->task), load->pinned);
  for (const Done& done : dones) done(outcome);
}

// The parts that are there are held while the others come, so that none drives out another.
void AdapterManager::Impl::acquire(const std::vector<MixPart>& parts, const Acquired& done) {
  AdapterSelection selection;
  for (const MixPart& part : parts) {
    AdapterSelection one = table->lease({part}).value_or(AdapterSelection{});
    if (one.uses.empty()) {
      const AdapterOutcome outcome = load_again(part.name);
      if (outcome.problem != AdapterProblem::kNone) return done(outcome, {});
      one = table->lease({part}).value_or(AdapterSelection{});
    }
    if (one.uses.empty()) return done(not_found(part.name), {});  // unloaded since
    selection.uses.push_back(std::move(one.uses.front()));
    if (parts.size() == 1) selection.chat_template = std::move(one.chat_template);
  }
  done({}, std::move(selection));
}

AdapterManager::AdapterManager(AdapterRegistry& registry, AdapterManagerOptions options)
    : options_(std::move(options)), impl_(std::make_unique<Impl>(registry, options_)) {}

AdapterManager::~AdapterManager() = default;

std::optional<std::string> AdapterManager::Impl::allowed_path(std::string_view path,
                                                              AdapterOutcome& outcome) const {
  std::optional<std::string> relative;
  if (!options.directory.empty()) relative = path_beneath(path, prefixes);
  if (!relative) {
    outcome = {AdapterProblem::kRefused, options.directory.empty()
                                             ? "no directory was given that adapters may be loaded from"
                                             : "the path must lead to something in the adapter directory"};
  }
  return relative;
}

void AdapterManager::Impl::open(const std::string& name, const AdapterSource& source, bool replace,
                                bool pinned, Done done) {
  AdapterOutcome outcome;
  std::shared_ptr<PendingLoad> load;
  {
    const std::lock_guard lock(mutex);
    for (const auto& other : pending) {
      const AdapterTask& task = other->task;
      if (task.name != name || task.source.path != source.path) continue;
      if (task.replace == replace && other->pinned == pinned) {
        other->dones.push_back(std::move(done));
        return;
      }
    }
    const std::optional<AdapterTask> task = table->open(name, source, replace, outcome);
    if (task) {
      load = pending.emplace_back(std::make_shared<PendingLoad>(*task, pinned));
      load->dones.push_back(std::move(done));
    }
  }
  if (load == nullptr) return done(outcome);
  submit([this, load](bool stopping) { start(load, stopping); });
}

void AdapterManager::require_name(std::string_view name) const { impl_->check_name(name); }

void AdapterManager::load(const std::string& name, const std::string& path, bool replace, bool pinned,
                          Done done) {
  AdapterOutcome outcome;
  try {
    impl_->check_name(name);
  } catch (const Error& error) {
    return done({AdapterProblem::kBadName, error.what()});
  }
  const std::optional<std::string> relative = impl_->allowed_path(path, outcome);
  if (!relative) return done(outcome);
  impl_->open(name, {*relative, AdapterOrigin::kRequest}, replace, pinned, std::move(done));
}

void AdapterManager::publish(const std::string& name, const std::string& path, Done done) {
  try {
    impl_->check_name(without_step(name));
  } catch (const Error& error) {
    return done({AdapterProblem::kBadName, error.what()});
  }
  impl_->open(name, {path, AdapterOrigin::kTuned}, true, false, std::move(done));
}

void AdapterManager::unload(const std::string& name, bool wait, Done done) {
  impl_->table->remove(name, wait, std::move(done));
}

void AdapterManager::validate(const std::string& path,
                              std::function<void(const AdapterOutcome&, const AdapterStatus&)> done) {
  AdapterOutcome outcome;
  const std::optional<std::string> relative = impl_->allowed_path(path, outcome);
  if (!relative) return done(outcome, {});
  AdapterTask task;
  task.source.path = *relative;
  impl_->submit([impl = impl_.get(), task, done = std::move(done)](bool stopping) {
    if (stopping) return done(kStopped, {});
    const AdapterLoad load = impl->read(task);
    AdapterStatus status;
    status.path = task.source.path;
    status.load_seconds = load.seconds;
    status.error = load.outcome.message;
    status.residency = Residency::kFailed;
    if (const Adapter* adapter = load.loaded.adapter.get()) {
      status.residency = Residency::kReady;
      status.id = adapter->id();
      status.rank = adapter->max_rank();
      status.form = adapter->form();
      status.bytes = adapter->bytes();
      status.warnings = load.loaded.warnings;
    }
    done(load.outcome, status);
  });
}

void AdapterManager::pin(const std::string& name, bool pinned) {
  if (impl_->table->pin(name, pinned) || !pinned) return;
  impl_->submit([impl = impl_.get(), name](bool stopping) {
    if (!stopping) impl->load_again(name);
  });
}

void AdapterManager::acquire(const std::vector<MixPart>& parts, Acquired done) {
  if (std::optional<AdapterSelection> there = impl_->table->lease(parts)) return done({}, std::move(*there));
  for (const MixPart& part : parts) {
    if (!impl_->table->known(part.name)) return done(not_found(part.name), {});
  }
  impl_->submit([impl = impl_.get(), parts, done = std::move(done)](bool stopping) {
    if (stopping) return done(kStopped, {});
    impl->acquire(parts, done);
  });
}

std::vector<AdapterStatus> AdapterManager::list() const { return impl_->table->list(); }

std::optional<AdapterStatus> AdapterManager::find(std::string_view name) const {
  return impl_->table->find(name);
}

size_t AdapterManager::resident_bytes() const { return impl_->table->resident_bytes(); }

bool AdapterManager::known(std::string_view name) const { return impl_->table->known(std::string(name)); }

bool AdapterManager::caught_up() const { return impl_->caught_up; }

std::string AdapterManager::directory_problem() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->problem;
}

}  // namespace chorus
