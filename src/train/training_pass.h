#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/thread_team.h"
#include "kernels/training.h"
#include "model/weights.h"
#include "train/packed_lora.h"
#include "train/training_batch.h"

namespace chorus {

// An adapter as the pass needs it. Gradients are added to.
struct Trainee {
  const LoraParameters* parameters = nullptr;
  const PackedLora* packed = nullptr;  // of them, up to date
  std::span<float> gradient;           // of the parameters' size
  float dropout = 0;
  uint64_t dropout_key = 0;  // differs from step to step
};

struct PassLimits {
  int rows = 512;  // of a batch
  int sequences = 64;
  int sequence_rows = 512;
  int rank = 0;          // the largest
  int label_rows = 128;  // whose logits are held at once
  bool dropout = false;  // some trainee may have it
  bool dora = false;     // likewise
  int kept_layers = 0;   // that keep all their backward pass reads; others keep their input and run again
};

// One forward and backward pass over a batch: the engine's own forward pass (see Transformer), then its
// reverse. Holds the activations, nothing of a trainee.
class TrainingPass {
 public:
  // All must outlive it. `training` goes with `kernels`. `exact` as of Transformer.
  TrainingPass(const Model& model, const Kernels& kernels, const TrainingKernels& training,
               const PassLimits& limits, int threads, bool exact = false);
  ~TrainingPass();

  // From now on `between` is called before each layer and each chunk of labels, forward and back, on the
  // thread that calls run() or evaluate(), while no other member of the team works. What it throws ends them:
  // the gradients then hold a part. Empty: a pass is one run of the team.
  void set_between(std::function<void()> between);

  // Adds each trainee's gradient of the weighted loss; nll[i] is that of labels[i], without its weight. The
  // same bytes at any number of threads.
  void run(ThreadTeam& team, const TrainingBatch& batch, std::span<Trainee> trainees, std::span<double> nll);
  // The same without gradients and dropout.
  void evaluate(ThreadTeam& team, const TrainingBatch& batch, std::span<Trainee> trainees,
                std::span<double> nll);

  // What it holds for a model under these limits.
  static size_t bytes(const ModelConfig& config, const PassLimits& limits, int threads);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace chorus
