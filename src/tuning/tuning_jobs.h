#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/adapter_manager.h"
#include "engine/runtime.h"
#include "tuning/directory_lock.h"
#include "tuning/file_store.h"
#include "tuning/job_run.h"
#include "tuning/mailbox.h"
#include "tuning/tuning_job.h"

namespace chorus {

struct TuningOptions {
  std::string directory;  // files/ and jobs/ beneath it; empty: there are no jobs
  std::string base_name;  // for people
  std::vector<int> cpus;  // as of ThreadTeam
  size_t activation_bytes = size_t{512} << 20;
  TuningLimits limits;
};

// There are as many jobs as may be.
struct TooManyJobs : Error {
  using Error::Error;
};

// The name that a job's adapter shall have is none, or is taken.
struct BadAdapterName : Error {
  using Error::Error;
};

// Tuning beside serving: jobs run one after the other, on the model that serves and on processor time that is
// left over, and wait while the engine has requests. Each evaluation of a job puts NAME@STEP among the
// adapters, its end NAME. Jobs stand in the directory: what was not at its end goes on after a restart, to
// the same bytes. Thread-safe.
//
// Two threads. The training's own takes no lock that anybody else needs for a request: it leaves word for the
// other, which keeps the jobs.
class TuningJobs {
 public:
  // All must outlive it, and the directory must be the manager's tuned_directory. Error: the directory cannot
  // be used, or another server uses it.
  TuningJobs(Runtime& runtime, AdapterManager& adapters, TuningOptions options);
  // As stop(), and waits for it.
  ~TuningJobs();

  FileStore& files() { return files_; }
  const TuningLimits& limits() const { return options_.limits; }
  int layers() const { return static_cast<int>(runtime_.model().config.layers.size()); }

  // TooManyJobs; BadAdapterName; Error: settings that this model does not take, a file that is not there; it
  // cannot be written.
  TuningJob create(JobRequest request);
  std::optional<TuningJob> find(const std::string& id) const;
  std::vector<JobState> list() const;  // the newest first
  // Ends it as it is; what it published stays. Error: it has ended.
  TuningJob cancel(const std::string& id);
  // It, its adapters and its result files are gone. Error: it has not ended.
  void remove(const std::string& id);
  // Removes a file. False: it is not there. Error: a job that has not ended needs it.
  bool remove_file(const std::string& id);

  // The job at hand saves a checkpoint and waits for the next start; no other begins. Returns at once.
  void stop();

 private:
  // Of the job at hand.
  struct Active {
    Active(std::string job, std::function<bool()> busy) : id(std::move(job)), gate(std::move(busy)) {}
    const std::string id;
    TrainingGate gate;
    std::jthread thread;
  };
  enum class RunEnd : uint8_t { kDone, kStopped, kFailed };
  void load();
  void publish_again();
  void require_free_name(const std::string& name) const;

  // On the thread that keeps the jobs.
  void run();
  void start_next();
  void ended(RunEnd end, const std::string& error);
  void succeed(const std::string& id);
  void stepped(const std::string& id, const JobProgress& progress);
  void evaluated(const std::string& id, int64_t step, double train_loss, double validation_loss);
  void note(const std::string& id, std::string_view level, const std::string& text, json::object data = {});
  void began(const std::string& id);

  // With the lock held.
  TuningJob* job_of(const std::string& id);
  void conclude(TuningJob& job, JobStatus status, const std::string& error);
  void keep_newest_steps(const TuningJob& job);
  void withdraw(const TuningJob& job);
  void save(TuningJob& job);

  // On the training's thread.
  void train(TrainingGate& gate, const JobRun& job, const std::string& id);
  JobHooks hooks_of(const std::string& id, const JobRun& job);

  JobRun job_run(const TuningJob& job) const;
  void publish(const std::string& id, const std::string& name, const std::string& path);
  // Paths in the directory.
  static std::string folder_of(const std::string& id) { return "jobs/" + id; }
  static std::string file_of(const std::string& id) { return folder_of(id) + "/job.json"; }
  static std::string run_of(const std::string& id) { return folder_of(id) + "/run"; }
  static std::string steps_of(const std::string& id) { return folder_of(id) + "/steps"; }
  std::string at(const std::string& path) const { return options_.directory + "/" + path; }
  std::string without_paths(std::string text, const JobRun& job) const;

  Runtime& runtime_;
  AdapterManager& adapters_;
  const TuningOptions options_;
  const DirectoryLock lock_;
  FileStore files_;
  const std::shared_ptr<Mailbox> mailbox_ = std::make_shared<Mailbox>();
  mutable std::mutex mutex_;  // of what follows
  std::map<std::string, TuningJob> jobs_;
  std::unique_ptr<Active> active_;
  std::condition_variable idle_;  // there is none
  bool stopping_ = false;
  std::jthread thread_;
};

}  // namespace chorus
