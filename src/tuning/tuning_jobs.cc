#include "tuning/tuning_jobs.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <new>
#include <ranges>

#include "base/background_thread.h"
#include "base/process_memory.h"
#include "model/adapter_export.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kJobFile = "/job.json", kRun = "/run", kSteps = "/steps";
constexpr std::array<std::string_view, 4> kResults = {kPeftConfig, kPeftTensors, "metrics.jsonl", "loss.svg"};

std::string step_name(const TuningJob& job, int64_t step) {
  return fmt::format("{}@{}", job.request.name, step);
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  if (from.empty()) return;
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

}  // namespace

TuningJobs::Lock::Lock(const std::string& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  const std::string path = directory + "/lock";
  fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd_ < 0) fail("{}: cannot be written to: {}", printable(directory, 300), std::strerror(errno));
  if (flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
  close(fd_);
  fail("{}: another server keeps its jobs there; a directory of its own would be right",
       printable(directory, 300));
}

TuningJobs::Lock::~Lock() { close(fd_); }

TuningJobs::TuningJobs(Runtime& runtime, AdapterManager& adapters, TuningOptions options)
    : runtime_(runtime),
      adapters_(adapters),
      options_(std::move(options)),
      lock_(options_.directory),
      files_(options_.directory + "/files", options_.limits) {
  load();
  publish_again();
  mailbox_->post([this] { start_next(); });
  thread_ = std::jthread([this] { run(); });
}

TuningJobs::~TuningJobs() {
  stop();
  {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [this] { return active_ == nullptr; });
  }
  mailbox_->close();
}

void TuningJobs::stop() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  if (active_) active_->gate.stop();
}

// A folder without a description is of a job that nobody was told of.
void TuningJobs::load() {
  const std::string directory = options_.directory + "/jobs";
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) fail("{}: cannot be made: {}", printable(directory, 300), error.message());
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    const std::string id = entry.path().filename().string();
    if (!fs::exists(path_of(id) + std::string(kJobFile))) continue;
    TuningJob job = read_job(path_of(id) + std::string(kJobFile));
    if (job.id != id) fail("{}: is of another job", printable(path_of(id), 300));
    if (!job.ended()) job.status = JobStatus::kQueued;
    jobs_.emplace(id, std::move(job));
  }
}

void TuningJobs::publish_again() {
  for (const auto& [id, job] : jobs_) {
    for (const JobCheckpoint& checkpoint : job.checkpoints) {
      const std::string path = fmt::format("{}{}/{}", folder_of(id), kSteps, checkpoint.adapter);
      if (fs::exists(options_.directory + "/" + path)) publish(id, checkpoint.adapter, path);
    }
    if (job.status == JobStatus::kSucceeded && !adapters_.known(job.request.name))
      publish(id, job.request.name, folder_of(id) + std::string(kRun));
  }
}

void TuningJobs::publish(const std::string& id, const std::string& name, const std::string& path) {
  // The manager may call back when this is gone; what is left in a closed mailbox is dropped.
  adapters_.publish(name, path, [this, mailbox = mailbox_, id, name](const AdapterOutcome& outcome) {
    if (outcome.problem == AdapterProblem::kNone || outcome.problem == AdapterProblem::kStopping) return;
    mailbox->post([this, id, text = fmt::format("{} cannot be used: {}", name, outcome.message)] {
      note(id, "warn", text);
    });
  });
}

void TuningJobs::require_free_name(const std::string& name) const {
  try {
    runtime_.adapters().loader().require_name(name);
  } catch (const Error& error) {
    throw BadAdapterName(error.what());
  }
  const bool of_a_job = std::ranges::any_of(jobs_ | std::views::values, [&](const TuningJob& job) {
    return job.request.name == name && (!job.ended() || job.status == JobStatus::kSucceeded);
  });
  if (of_a_job || adapters_.known(name)) {
    throw BadAdapterName(fmt::format(
        "there is an adapter {} already, or a job that makes one; another suffix would be right", name));
  }
}

TuningJob TuningJobs::create(JobRequest request) {
  const std::lock_guard lock(mutex_);
  const auto waiting =
      std::ranges::count_if(jobs_ | std::views::values, [](const TuningJob& job) { return !job.ended(); });
  if (static_cast<size_t>(waiting) >= options_.limits.waiting_jobs)
    throw TooManyJobs(fmt::format("{} jobs run or wait, as many as may; try again later", waiting));
  if (jobs_.size() >= options_.limits.jobs)
    throw TooManyJobs(
        fmt::format("{} jobs are kept, as many as may be; delete some that have ended", jobs_.size()));
  TuningJob job;
  job.id = new_id("ftjob-");
  job.created = std::time(nullptr);
  if (request.name.empty()) request.name = "ft-" + job.id.substr(job.id.size() - 8);
  require_free_name(request.name);
  for (const std::string* file : {&request.training_file, &request.validation_file}) {
    if (!file->empty() && !files_.find(*file)) fail("there is no file {}", printable(*file));
  }
  task_of(request.settings, layers());
  for (const auto& [id, other] : jobs_) {
    if (other.request.name == request.name) withdraw(other);
  }
  job.request = std::move(request);
  std::error_code error;
  fs::create_directories(path_of(job.id), error);
  if (error) fail("the job cannot be kept: {}", error.message());
  add_event(job, "info", fmt::format("Created fine-tuning job: {}", job.id), {}, options_.limits);
  write_job(job, path_of(job.id) + std::string(kJobFile));
  jobs_.emplace(job.id, job);
  mailbox_->post([this] { start_next(); });
  return job;
}

std::optional<TuningJob> TuningJobs::find(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto it = jobs_.find(id);
  return it == jobs_.end() ? std::nullopt : std::optional(it->second);
}

std::vector<TuningJob> TuningJobs::list() const {
  std::vector<TuningJob> all;
  const std::lock_guard lock(mutex_);
  for (const auto& [id, job] : jobs_ | std::views::reverse) {
    all.push_back(job);
    all.back().events.clear();
  }
  return all;
}

TuningJob TuningJobs::cancel(const std::string& id) {
  const std::lock_guard lock(mutex_);
  TuningJob* job = job_of(id);
  if (job == nullptr) fail("there is no job {}", printable(id));
  if (job->ended()) fail("the job has ended already: {}", name_of(job->status));
  conclude(*job, JobStatus::kCancelled, "");
  if (active_ && active_->id == id) active_->gate.stop();
  return *job;
}

void TuningJobs::remove(const std::string& id) {
  TuningJob removed;
  {
    const std::lock_guard lock(mutex_);
    TuningJob* job = job_of(id);
    if (job == nullptr) fail("there is no job {}", printable(id));
    if (!job->ended() || (active_ && active_->id == id))
      fail("the job has not ended: cancel it first, and try again later");
    withdraw(*job);
    removed = std::move(*job);
    jobs_.erase(id);
  }
  std::error_code ignored;
  fs::remove(path_of(id) + std::string(kJobFile), ignored);
  fs::remove_all(path_of(id), ignored);
  for (const std::string& file : removed.result_files) files_.remove(file);
}

bool TuningJobs::remove_file(const std::string& id) {
  const std::lock_guard lock(mutex_);
  for (const auto& [job_id, job] : jobs_) {
    if (!job.ended() && (job.request.training_file == id || job.request.validation_file == id))
      fail("the job {} needs this file and has not ended", job_id);
  }
  return files_.remove(id);
}

void TuningJobs::run() {
  while (const std::function<void()> work = mailbox_->take()) work();
}

JobRun TuningJobs::run_of(const TuningJob& job) const {
  const auto path = [&](const std::string& id) {
    const std::optional<StoredFile> file = files_.find(id);
    return file ? files_.path(*file) : std::string();
  };
  return {.name = job.request.name,
          .training = path(job.request.training_file),
          .validation = path(job.request.validation_file),
          .settings = job.request.settings,
          .output = path_of(job.id) + std::string(kRun),
          .steps = path_of(job.id) + std::string(kSteps),
          .base_name = options_.base_name,
          .threads = options_.cpus.empty() ? runtime_.threads() : 0,
          .cpus = options_.cpus,
          .activation_bytes = options_.activation_bytes};
}

void TuningJobs::start_next() {
  const std::lock_guard lock(mutex_);
  if (stopping_ || active_) return;
  const auto next = std::ranges::find_if(
      jobs_, [](const auto& entry) { return entry.second.status == JobStatus::kQueued; });
  if (next == jobs_.end()) return;
  TuningJob& job = next->second;
  job.status = JobStatus::kValidating;
  add_event(job, "info", fmt::format("Validating training file: {}", job.request.training_file), {},
            options_.limits);
  save(job);
  active_ = std::make_unique<Active>(job.id, [&engine = runtime_.engine()] { return !engine.idle(); });
  active_->thread =
      std::jthread([this, run = run_of(job), id = job.id, &gate = active_->gate] { train(gate, run, id); });
}

// The training's own thread.
void TuningJobs::train(TrainingGate& gate, const JobRun& job, const std::string& id) {
  run_when_idle();
  RunEnd end = RunEnd::kStopped;
  std::string error;
  try {
    if (run_job(runtime_, job, gate, hooks_of(id, job)) == TuneEnd::kDone) end = RunEnd::kDone;
  } catch (const TrainingStopped&) {
  } catch (const std::bad_alloc&) {
    end = RunEnd::kFailed;
    error = "there is not enough memory";
  } catch (const std::exception& failure) {
    end = RunEnd::kFailed;
    error = without_paths(failure.what(), job);
  }
  mailbox_->post([this, end, error] { ended(end, error); });
}

JobHooks TuningJobs::hooks_of(const std::string& id, const JobRun& job) {
  return {.began = [this, id] { mailbox_->post([this, id] { began(id); }); },
          .stepped =
              [this, id](const JobProgress& progress) {
                mailbox_->post([this, id, progress] { stepped(id, progress); });
              },
          .evaluated =
              [this, id](int64_t step, double train_loss, double validation_loss) {
                mailbox_->post([=, this] { evaluated(id, step, train_loss, validation_loss); });
              },
          .note =
              [this, id, &job](std::string_view level, const std::string& text) {
                mailbox_->post([this, id, level = std::string(level), line = without_paths(text, job)] {
                  note(id, level, line);
                });
              }};
}

// What a client may know: its files by its own names.
std::string TuningJobs::without_paths(std::string text, const JobRun& job) const {
  replace_all(text, job.training, "training file");
  replace_all(text, job.validation, "validation file");
  replace_all(text, options_.directory + "/", "");
  return text;
}

void TuningJobs::ended(RunEnd end, const std::string& error) {
  std::unique_ptr<Active> over;  // its thread is joined behind the lock
  std::string id;
  {
    const std::lock_guard lock(mutex_);
    over = std::move(active_);
    id = over->id;
  }
  over->thread.join();
  note(id, "info", fmt::format("Waited {:.1f} s for requests", over->gate.waited().count()));
  over.reset();
  return_freed_memory();
  if (end == RunEnd::kDone) succeed(id);
  {
    const std::lock_guard lock(mutex_);
    TuningJob& job = *job_of(id);
    if (end == RunEnd::kFailed && !job.ended()) conclude(job, JobStatus::kFailed, error);
    if (job.ended() && job.status != JobStatus::kSucceeded) {
      std::error_code ignored;
      fs::remove_all(path_of(id) + std::string(kRun), ignored);
    }
    idle_.notify_all();
  }
  start_next();
}

void TuningJobs::succeed(const std::string& id) {
  const std::string folder = folder_of(id) + std::string(kRun);
  std::vector<std::string> results;
  std::string problem;
  try {
    for (const std::string_view name : kResults) {
      results.push_back(files_
                            .link(std::string(name), "fine-tune-results",
                                  fmt::format("{}/{}/{}", options_.directory, folder, name))
                            .id);
    }
  } catch (const Error& error) {
    problem = error.what();
  }
  const std::lock_guard lock(mutex_);
  TuningJob& job = *job_of(id);
  if (job.ended()) return;  // cancelled at the last moment
  job.result_files = std::move(results);
  if (!problem.empty())
    add_event(job, "warn", "the result files are not all there: " + problem, {}, options_.limits);
  publish(id, job.request.name, folder);
  job.step = job.steps;
  add_event(job, "info", fmt::format("New fine-tuned model created: {}", job.request.name), {},
            options_.limits);
  conclude(job, JobStatus::kSucceeded, "");
  std::error_code ignored;
  fs::remove_all(options_.directory + "/" + folder + "/checkpoints", ignored);
}

void TuningJobs::began(const std::string& id) {
  const std::lock_guard lock(mutex_);
  TuningJob& job = *job_of(id);
  if (job.ended()) return;
  job.status = JobStatus::kRunning;
  add_event(job, "info", "Fine-tuning job started", {}, options_.limits);
  save(job);
}

void TuningJobs::stepped(const std::string& id, const JobProgress& progress) {
  const std::lock_guard lock(mutex_);
  TuningJob& job = *job_of(id);
  if (job.ended()) return;
  job.step = progress.step;
  job.steps = progress.steps;
  job.trained_tokens = progress.trained_tokens;
  job.estimated_finish = std::time(nullptr) + static_cast<int64_t>(progress.seconds_left);
  add_event(
      job, "info",
      fmt::format("Step {}/{}: training loss={:.4f}", progress.step, progress.steps, progress.train_loss),
      {{"step", progress.step},
       {"total_steps", progress.steps},
       {"train_loss", progress.train_loss},
       {"learning_rate", progress.learning_rate},
       {"tokens_per_second", progress.tokens_per_second},
       {"seconds_left", progress.seconds_left}},
      options_.limits);
}

void TuningJobs::evaluated(const std::string& id, int64_t step, double train_loss, double validation_loss) {
  const std::lock_guard lock(mutex_);
  TuningJob& job = *job_of(id);
  const std::string name = step_name(job, step);
  publish(id, name, fmt::format("{}{}/{}", folder_of(id), kSteps, name));
  add_checkpoint(job,
                 {.id = new_id("ftckpt-"),
                  .adapter = name,
                  .created = std::time(nullptr),
                  .step = step,
                  .train_loss = train_loss,
                  .validation_loss = validation_loss},
                 options_.limits);
  add_event(job, "info",
            fmt::format("Step {}: validation loss={:.4f}; {} can be used", step, validation_loss, name),
            {{"step", step}, {"valid_loss", validation_loss}}, options_.limits);
  keep_newest_steps(job);
  save(job);
}

void TuningJobs::note(const std::string& id, std::string_view level, const std::string& text) {
  const std::lock_guard lock(mutex_);
  if (TuningJob* job = job_of(id)) add_event(*job, level, text, {}, options_.limits);
}

TuningJob* TuningJobs::job_of(const std::string& id) {
  const auto it = jobs_.find(id);
  return it == jobs_.end() ? nullptr : &it->second;
}

void TuningJobs::conclude(TuningJob& job, JobStatus status, const std::string& error) {
  job.status = status;
  job.finished = std::time(nullptr);
  job.error = error;
  const std::string message = status == JobStatus::kSucceeded   ? "The job has successfully completed"
                              : status == JobStatus::kCancelled ? "Fine tuning job cancelled"
                                                                : "The job failed: " + error;
  add_event(job, status == JobStatus::kFailed ? "error" : "info", message, {}, options_.limits);
  save(job);
}

// A disk that is full ends no job; it is said among the events, and what stood there counts after a restart.
void TuningJobs::save(TuningJob& job) {
  try {
    write_job(job, path_of(job.id) + std::string(kJobFile));
  } catch (const Error& error) {
    std::string text = error.what();
    replace_all(text, options_.directory + "/", "");
    add_event(job, "warn", "the job cannot be written down: " + text, {}, options_.limits);
  }
}

void TuningJobs::keep_newest_steps(const TuningJob& job) {
  const size_t count = job.checkpoints.size();
  if (count <= options_.limits.published_steps) return;
  const std::string& name = job.checkpoints[count - 1 - options_.limits.published_steps].adapter;
  adapters_.unload(name, false, [](const AdapterOutcome&) {});
  std::error_code ignored;
  fs::remove_all(fmt::format("{}{}/{}", path_of(job.id), kSteps, name), ignored);
}

// What a job made is no adapter any more.
void TuningJobs::withdraw(const TuningJob& job) {
  const auto nothing = [](const AdapterOutcome&) {};
  for (const JobCheckpoint& checkpoint : job.checkpoints)
    adapters_.unload(checkpoint.adapter, false, nothing);
  if (job.status == JobStatus::kSucceeded) adapters_.unload(job.request.name, false, nothing);
  std::error_code ignored;
  fs::remove_all(path_of(job.id) + std::string(kSteps), ignored);
}

}  // namespace chorus
