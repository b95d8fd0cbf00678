#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "train/examples.h"
#include "train/optimizer.h"
#include "train/training_pass.h"

namespace chorus {

// One adapter to tune: its data and settings. Several are tuned in one run, each by its own schedule.
struct TuneTask {
  std::string name;
  std::vector<TokenizedExample> train, validation;
  LoraShape shape;
  AdamWOptions adam;
  ScheduleKind schedule = ScheduleKind::kCosine;
  double warmup = 0.03;  // share of the steps
  double epochs = 3;
  int64_t max_steps = 0;  // 0: as the epochs give
  int batch = 8;          // examples a step
  float dropout = 0;
  int64_t eval_every = 0;  // steps; 0: at the end of each epoch
  int patience = 0;        // evaluations without a better loss until it stops; 0: never
  uint64_t seed = 1;
  bool eight_bit = false;  // moments of a byte
};

struct TrainerLimits {
  int rows = 256;                               // of one pass, at least the longest example's
  size_t activation_bytes = size_t{512} << 20;  // layers beyond it run again in the backward pass
  bool exact = false;                           // see Transformer
};

// How an adapter's tuning stands.
struct TuneState {
  int64_t step = 0, steps = 0;  // done, of
  double train_loss = 0;        // of the last step: mean over its label tokens, in nats
  double gradient_norm = 0, learning_rate = 0;
  double validation_loss = 0;  // at the last evaluation
  double best_loss = 0;        // the lowest so far, and its step; of no evaluation: step 0
  int64_t best_step = 0;
  int worse = 0;         // evaluations since
  bool stopped = false;  // early
  bool done() const { return stopped || step >= steps; }
};

// Thrown by a gate: see Trainer::set_gate.
struct TrainingStopped {};

// Tunes adapters on a base that is only read. What it computes is a function of model, kernels, tasks and
// limits.rows alone: not of the number of threads, of memory, or of pauses between which it was saved.
class Trainer {
 public:
  // `model`, `kernels` and `team` must outlive it. Error: an example that has no label or one token.
  Trainer(const Model& model, const Kernels& kernels, ThreadTeam& team, std::vector<TuneTask> tasks,
          const TrainerLimits& limits);
  ~Trainer();
  Trainer(Trainer&&) noexcept;

  // Called between pieces of work of a layer at most: `gate` returns when the next may begin, or throws
  // TrainingStopped, which step() and loss() let through. Without one a pass is done in one go.
  void set_gate(std::function<void()> gate);
  // False after a step that the gate stopped behind its optimizer step, in an evaluation: to go on, or to be
  // saved, it lacks that. A step stopped before is as if it had not begun.
  bool whole() const;

  size_t size() const;
  const TuneTask& task(size_t index) const;
  const TuneState& state(size_t index) const;
  bool done() const;
  // One optimizer step of every adapter that is not done, in one mixed batch. Evaluates those that are due;
  // `evaluated` is called for each of them. Returns the tokens it ran forward and back.
  int64_t step(const std::function<void(size_t index)>& evaluated = {});
  // What a pass takes: runs one, forward and back, over the first examples, and leaves everything as it was.
  struct Pace {
    int64_t tokens = 0;
    double seconds = 0;
  };
  Pace probe();
  int64_t steps_per_epoch(size_t index) const;
  // Mean loss per label token under an adapter (none: the base) in nats.
  double loss(std::optional<size_t> index, const std::vector<TokenizedExample>& examples);

  const LoraParameters& parameters(size_t index) const;
  // The adapter as it is now, to serve; the id must be one that no other values have.
  AdapterHandle adapter(size_t index, std::string id) const;
  const ModelConfig& config() const;  // of the base

  // Everything that the steps to come depend on but what the constructor was given. load() wants what save()
  // wrote for equal tasks: see checkpoint.h, which checks that.
  struct Saved {
    TuneState state;
    int64_t optimizer_steps = 0;
    std::span<std::byte> values, best_values, moments;
  };
  Saved saved(size_t index);
  void restore(size_t index, const TuneState& state, int64_t optimizer_steps);

  // From now on every adapter is what it was at its best step, or at the last where nothing was evaluated.
  void use_best();

  int kept_layers() const;  // that need not run again
  size_t bytes() const;     // that it holds beside the model

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The order of an epoch: 0 .. count - 1, shuffled.
std::vector<uint32_t> epoch_order(uint64_t seed, int64_t epoch, size_t count);

}  // namespace chorus
