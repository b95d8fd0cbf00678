#include "tuning/tuning_jobs.h"

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <ranges>

namespace chorus {
namespace {

namespace fs = std::filesystem;

}  // namespace

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
    if (!fs::exists(at(file_of(id)))) continue;
    TuningJob job = read_job(at(file_of(id)));
    if (job.id != id) fail("{}: is of another job", printable(at(folder_of(id)), 300));
    if (!job.ended()) job.status = JobStatus::kQueued;
    jobs_.emplace(id, std::move(job));
  }
}

void TuningJobs::publish_again() {
  for (const auto& [id, job] : jobs_) {
    for (const JobCheckpoint& checkpoint : job.checkpoints) {
      const std::string path = steps_of(id) + "/" + checkpoint.adapter;
      if (fs::exists(at(path))) publish(id, checkpoint.adapter, path);
    }
    if (job.status == JobStatus::kSucceeded && !adapters_.known(job.request.name))
      publish(id, job.request.name, run_of(id));
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
  fs::create_directories(at(folder_of(job.id)), error);
  if (error) fail("the job cannot be kept: {}", error.message());
  add_event(job, "info", fmt::format("Created fine-tuning job: {}", job.id), {}, options_.limits);
  write_job(job, at(file_of(job.id)));
  jobs_.emplace(job.id, job);
  mailbox_->post([this] { start_next(); });
  return job;
}

std::optional<TuningJob> TuningJobs::find(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto it = jobs_.find(id);
  return it == jobs_.end() ? std::nullopt : std::optional(it->second);
}

std::vector<JobState> TuningJobs::list() const {
  std::vector<JobState> all;
  const std::lock_guard lock(mutex_);
  for (const auto& [id, job] : jobs_ | std::views::reverse) all.push_back(job);
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
  fs::remove(at(file_of(id)), ignored);
  fs::remove_all(at(folder_of(id)), ignored);
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
    write_job(job, at(file_of(job.id)));
  } catch (const Error& error) {
    add_event(job, "warn", "the job cannot be written down: " + without_paths(error.what(), {}), {},
              options_.limits);
  }
}

// What a job made is no adapter any more.
void TuningJobs::withdraw(const TuningJob& job) {
  const auto nothing = [](const AdapterOutcome&) {};
  for (const JobCheckpoint& checkpoint : job.checkpoints)
    adapters_.unload(checkpoint.adapter, false, nothing);
  if (job.status == JobStatus::kSucceeded) adapters_.unload(job.request.name, false, nothing);
  std::error_code ignored;
  fs::remove_all(at(steps_of(job.id)), ignored);
}

}  // namespace chorus
