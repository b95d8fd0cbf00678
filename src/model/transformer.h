#pragma once

#include <functional>
#include <memory>
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

// Where a layer leaves what its backward pass reads, each row by row and contiguous. What is null is not
// wanted.
struct LayerTape {
  float* x = nullptr;  // [rows, hidden]: the residual stream before the layer
  float* q = nullptr;  // [rows, q_width], as the linear gave it; k and v: [rows, kv_width]
  float* k = nullptr;
  float* v = nullptr;
  float* attended = nullptr;          // [rows, q_width]: the input of o
  float* attention_branch = nullptr;  // [rows, hidden]: what o gave, of models with post-norms only
  float* middle = nullptr;            // [rows, hidden]: the residual stream before the MLP
  float* gate = nullptr;              // [rows, ffn], before the activation
  float* up = nullptr;                // [rows, ffn]
  float* gated = nullptr;             // [rows, ffn]: the input of down
  float* ffn_branch = nullptr;        // [rows, hidden]: what down gave, of models with post-norms only
};

// What the adapters of a group read instead of its input x [rows, cols], as under dropout. Called by every
// member with the same arguments; what it returns is read after a sync.
using LoraInput = std::function<const float*(Stream&, InputGroup, int layer, const float* x, int cols)>;

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

  // The same in parts, for who needs more of a step than logits. begin() comes first, from outside of a run
  // of the team; the rest is called by every member: embed(), the layers in their order, head() for any rows.
  // Each ends with a sync. A layer can be run again, from the x that it left on its tape.
  // `batch` must stay until the last of them.
  void begin(const ThreadTeam& team, const Batch& batch, LoraInput lora_input = {});
  void embed(Stream& stream);
  void layer(Stream& stream, int index, const LayerTape& tape = {});
  void layer_again(Stream& stream, int index, const float* x, const LayerTape& tape);
  // Rows of the batch, ascending, at most logit_rows of the limits -> logits [rows, vocab]. `segments` are of
  // these rows, not of the batch's, and so is what `lora_input` gets.
  void head(Stream& stream, std::span<const int32_t> rows, float* logits,
            std::span<const LoraSegment> segments = {}, const LoraInput& lora_input = {});
  // The residual stream [rows, hidden] as the last layer left it.
  const float* residual(const Stream& stream) const;
  // The rotations of a layer's rows, [rows, head_dim / 2, 2]; see RopeTableArgs.
  const float* rotations(int layer) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace chorus
