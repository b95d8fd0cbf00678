// The jobs' own two threads: the one that keeps them, and the training's.

#include <algorithm>
#include <array>
#include <ctime>
#include <filesystem>
#include <new>
#include <ranges>
#include <system_error>

#include "base/background_thread.h"
#include "base/process_memory.h"
#include "model/adapter_file.h"
#include "tuning/tuning_jobs.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

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

void TuningJobs::run() {
  while (const std::function<void()> work = mailbox_->take()) {
    try {
      work();
    } catch (const std::bad_alloc&) {
      // Word of one step is lost; the server goes on.
    }
  }
}

JobRun TuningJobs::job_run(const TuningJob& job) const {
  const auto path = [&](const std::string& id) {
    const std::optional<StoredFile> file = files_.find(id);
    return file ? files_.path(*file) : std::string();
  };
  return {.name = job.request.name,
          .training = path(job.request.training_file),
          .validation = path(job.request.validation_file),
          .settings = job.request.settings,
          .output = at(run_of(job.id)),
          .steps = at(steps_of(job.id)),
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
  try {
    active_->thread = std::jthread(
        [this, run = job_run(job), id = job.id, &gate = active_->gate] { train(gate, run, id); });
  } catch (const std::system_error& error) {
    active_.reset();
    conclude(job, JobStatus::kFailed, fmt::format("no thread can be started: {}", error.code().message()));
  }
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
  return {.examined =
              [this, id, &job](const DoctorReport& report) {
                const std::string text = without_paths(json::serialize(report_json(report)), job);
                mailbox_->post([this, id, text] {
                  note(id, "info", "Examined the data", {{"report", parse_json(text, "the report")}});
                });
              },
          .began = [this, id] { mailbox_->post([this, id] { began(id); }); },
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

// Nobody but this thread changes which job is at hand; until the end of this the job cannot be removed.
void TuningJobs::ended(RunEnd end, const std::string& error) {
  const std::string id = active_->id;
  active_->thread.join();
  note(id, "info", fmt::format("Waited {:.1f} s for requests", active_->gate.waited().count()));
  if (end == RunEnd::kDone) succeed(id);
  {
    const std::lock_guard lock(mutex_);
    TuningJob& job = *job_of(id);
    if (end == RunEnd::kFailed && !job.ended()) conclude(job, JobStatus::kFailed, error);
    if (job.ended() && job.status != JobStatus::kSucceeded) {
      std::error_code ignored;
      fs::remove_all(at(run_of(id)), ignored);
    }
    active_.reset();
    idle_.notify_all();
  }
  return_freed_memory();
  start_next();
}

void TuningJobs::succeed(const std::string& id) {
  const std::string folder = run_of(id);
  std::vector<std::string> results;
  std::string problem;
  try {
    for (const std::string_view name : kResults) {
      results.push_back(
          files_.link(std::string(name), "fine-tune-results", at(fmt::format("{}/{}", folder, name))).id);
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
  fs::remove_all(at(folder + "/checkpoints"), ignored);
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
  publish(id, name, steps_of(id) + "/" + name);
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

void TuningJobs::note(const std::string& id, std::string_view level, const std::string& text,
                      json::object data) {
  const std::lock_guard lock(mutex_);
  if (TuningJob* job = job_of(id)) add_event(*job, level, text, std::move(data), options_.limits);
}

void TuningJobs::keep_newest_steps(const TuningJob& job) {
  const size_t count = job.checkpoints.size();
  if (count <= options_.limits.published_steps) return;
  const std::string& name = job.checkpoints[count - 1 - options_.limits.published_steps].adapter;
  adapters_.unload(name, false, [](const AdapterOutcome&) {});
  std::error_code ignored;
  fs::remove_all(at(steps_of(job.id) + "/" + name), ignored);
}

}  // namespace chorus
