#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json.h"
#include "tuning/tune_settings.h"
#include "tuning/tuning_limits.h"

namespace chorus {

enum class JobStatus : uint8_t { kQueued, kValidating, kRunning, kSucceeded, kFailed, kCancelled };
std::string_view name_of(JobStatus status);  // as OpenAI has it

// What a client asks for.
struct JobRequest {
  std::string model;                           // as the client called the base
  std::string name;                            // of the adapter
  std::string suffix;                          // that the client gave; empty: none
  std::string training_file, validation_file;  // ids; the latter may be empty
  TuneSettings settings;
  json::object metadata;
};

struct JobEvent {
  std::string id;
  int64_t created = 0;
  std::string level, message;  // "info", "warn", "error"
  json::object data;           // of a step or an evaluation; empty: a message
};

// An evaluation, and the adapter that it left.
struct JobCheckpoint {
  std::string id, adapter;
  int64_t created = 0, step = 0;
  double train_loss = 0, validation_loss = 0;
};

// How a job stands.
struct JobState {
  std::string id;
  JobRequest request;
  JobStatus status = JobStatus::kQueued;
  int64_t created = 0, finished = 0, estimated_finish = 0;  // seconds since 1970; 0: not known
  int64_t step = 0, steps = 0, trained_tokens = 0;
  std::string error;
  std::vector<std::string> result_files;

  bool ended() const { return status >= JobStatus::kSucceeded; }
};

// And what it has told.
struct TuningJob : JobState {
  std::vector<JobEvent> events;            // the oldest first
  std::vector<JobCheckpoint> checkpoints;  // likewise
};

// Adds one, and forgets another where there would be too many.
void add_event(TuningJob& job, std::string_view level, std::string message, json::object data,
               const TuningLimits& limits);
// Adds one, in place of what an earlier run of the same step said; the oldest goes where there would be too
// many.
void add_checkpoint(TuningJob& job, JobCheckpoint checkpoint, const TuningLimits& limits);

// job.json: whole or not at all. Errors name the file.
void write_job(const TuningJob& job, const std::string& path);
TuningJob read_job(const std::string& path);

}  // namespace chorus
