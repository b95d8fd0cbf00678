#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/runtime.h"
#include "train/data_doctor.h"
#include "train/tuner.h"
#include "tuning/training_gate.h"
#include "tuning/tune_settings.h"

namespace chorus {

// One job's training, as far as it is no matter of jobs.
struct JobRun {
  std::string name;                  // of the adapter
  std::string training, validation;  // files; the latter may be empty
  TuneSettings settings;
  std::string output;     // where the run is kept (see TunerOptions::output); it goes on where it was
  std::string steps;      // beneath which each evaluation leaves its adapter, in NAME@STEP
  std::string base_name;  // for people
  int threads = 0;        // as of ThreadTeam, as `cpus`
  std::vector<int> cpus;
  size_t activation_bytes = 0;
};

struct JobProgress {
  int64_t step = 0, steps = 0, trained_tokens = 0;
  double train_loss = 0, learning_rate = 0;
  double tokens_per_second = 0, seconds_left = 0;
};

// What it tells, on the thread that runs it.
struct JobHooks {
  std::function<void(const DoctorReport& report)> examined;  // what the data are, good or not
  std::function<void()> began;                               // the data are good
  std::function<void(const JobProgress& progress)> stepped;  // once a second at most, and at the end
  std::function<void(int64_t step, double train_loss, double validation_loss)> evaluated;
  std::function<void(std::string_view level, const std::string& text)> note;
};

// Reads the data and tunes, on the model that the runtime has, until it is done or the gate stops it: then
// the next run of the same job goes on from there, to the same bytes. The calling thread and its team want
// only processor time that is left over. Errors: data that cannot be learned from; as tune()'s.
TuneEnd run_job(const Runtime& runtime, const JobRun& job, TrainingGate& gate, const JobHooks& hooks);

}  // namespace chorus
