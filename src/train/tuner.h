#pragma once

#include <functional>
#include <string>
#include <vector>

#include "train/adapter_writer.h"
#include "train/checkpoint.h"
#include "train/metrics_log.h"
#include "train/trainer.h"

namespace chorus {

struct TunerOptions {
  std::string output;  // directory: the adapter itself, or of several one below it by each name
  bool resume = false;
  int checkpoint_seconds = 120;  // besides those at evaluations
  int64_t checkpoint_steps = 0;  // besides: each so many; 0: none
  RunIdentity identity;
  std::string base_name;      // for people
  std::string template_hash;  // of the chat template
  ResultForm form;            // of the adapters' files
};

// What the run tells while it goes on. Each may be empty.
struct TunerEvents {
  std::function<void()> begun;  // once what a checkpoint holds is there, before the first step
  std::function<void(double tokens_per_second, double seconds_left)> stepped;
  std::function<void(size_t adapter)> evaluated;
  std::function<void(const std::string& text)> note;
  std::function<bool()> interrupted;
};

// Held-out loss in nats per label token, of the base and of each adapter on each adapter's validation set.
struct TuneVerdict {
  std::vector<std::string> names;           // of the adapters that have such a set
  std::vector<std::vector<double>> losses;  // [1 + adapters][sets], the base first
};

enum class TuneEnd : uint8_t { kDone, kInterrupted };

// Runs the trainer to its end: checkpoints, metrics.jsonl, loss.svg, and the adapters at their best step when
// it is done. Interrupted, it saves a checkpoint after the step at hand; stopped by the trainer's gate, of
// the step before, if it can be (see Trainer::whole): else the last one counts. A checkpoint that cannot be
// written is told of, and the run goes on. Error: there is an unfinished run in the directory and `resume` is
// not set; what load_checkpoint refuses; a loss that is not a number; results that cannot be written.
TuneEnd tune(Trainer& trainer, const TunerOptions& options, const TunerEvents& events);

// Of a run that is done.
TuneVerdict judge(Trainer& trainer);

// Where an adapter's files go.
std::string adapter_directory(const Trainer& trainer, const std::string& output, size_t index);

}  // namespace chorus
