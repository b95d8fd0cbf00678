#pragma once

#include <span>

#include "base/buffer.h"
#include "base/thread_team.h"
#include "model/batch.h"
#include "model/kv_pages.h"
#include "model/weights.h"

namespace chorus {

// The largest step a Transformer is asked for; its buffers are sized by these once.
struct StepLimits {
  int rows = 512;
  int logit_rows = 512;
  int context_length = 0;         // of one sequence
  int lora_floats_per_row = 256;  // sum of the ranks that one linear of one row can meet in a mix
  int segments = 512;
};

// The forward pass: embed, layers, norm, head. Holds the activations of a step, nothing of a sequence.
class Transformer {
 public:
  // `model`, `kernels` and `kv` must outlive it. `exact`: every linear multiplies about 16 bits of its input
  // instead of 8, for twice the products.
  Transformer(const Model& model, const Kernels& kernels, const KvPages& kv, const StepLimits& limits,
              bool exact = false);
  ~Transformer();
  Transformer(Transformer&&) noexcept;

  // Runs one step on the team: stores the rows' K and V, and writes logits [logit_rows, vocab]. Allocates
  // nothing. The batch must be within the limits, its ids, slots and tables in range: the engine sees to it
  // (asserted).
  void forward(ThreadTeam& team, const Batch& batch, std::span<float> logits);

  const StepLimits& limits() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace chorus
