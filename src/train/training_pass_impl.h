#pragma once

// The inside of a TrainingPass, which training_pass.cc (what a pass is), training_head.cc (the loss),
// training_groups.cc (linears and their adapters) and training_layers.cc (the rest of a layer) share.

#include <algorithm>
#include <array>
#include <functional>
#include <span>
#include <vector>

#include "model/kv_pages.h"
#include "model/transformer.h"
#include "train/training_memory.h"
#include "train/training_pass.h"

namespace chorus {

// Labels whose logits are held at once, and the adapters of their rows; those rows count from 0.
struct HeadChunk {
  size_t first = 0, count = 0;
  std::vector<TrainingSegment> parts;  // of trainees that adapt the head
  std::vector<LoraSegment> segments;   // the same
};

// Rows that an op on adapters is done for, as the batch's or as a chunk's of the head.
struct AdapterRows {
  std::span<const TrainingSegment> parts;
  const uint64_t* keys;  // by row
  int rows;
};

// A linear's part of a group's backward pass. Only DoRA reads what follows n.
struct GroupTask {
  Target target;
  const float* dy;
  int n;
  const float* y;       // what it gave
  const float* before;  // null, or what y was added to
  float* dz;            // [rows, n], may be dy: what dy is to the linear, see DoraBackwardArgs
};
using GroupTasks = std::array<GroupTask, kMaxGroup>;

struct TrainingPass::Impl {
  Impl(const Model& m, const Kernels& kn, const TrainingKernels& tr, const PassLimits& l, int threads,
       bool exact);

  void start(ThreadTeam& team, const TrainingBatch& of, std::span<Trainee> adapters, bool with_dropout);
  template <typename F>
  void run_pieces(ThreadTeam& team, int count, const F& piece);
  void forward(Stream& s, int index, bool keep);
  void head(Stream& s, const HeadChunk& chunk, std::span<double> nll, bool backward);
  void head_backward(Stream& s, const HeadChunk& chunk);
  void head_adapters_backward(Stream& s, const HeadChunk& chunk);
  void cut_labels();
  void layer_backward(Stream& s, int index, const LayerTape& tape, bool lowest);
  void mlp_backward(Stream& s, int index, const LayerTape& tape);
  void attention_backward(Stream& s, int index, const LayerTape& tape, bool lowest);

  const float* branch_gradient(Stream& s, const float* branch, const NormWeight& post_norm);
  void normalise(Stream& s, const float* x, const NormWeight& weight, int rows);
  void add_norm_gradient(Stream& s, const float* x, const NormWeight& weight);
  void group_backward(Stream& s, int layer, InputGroup group, const float* x, int cols,
                      std::span<const GroupTask> tasks, float* dx);
  void adapter_gradients(Stream& s, const AdapterRows& of, InputGroup group, int layer, const float* x,
                         int cols, std::span<const GroupTask> tasks, float* dx);
  void adapters_backward(Stream& s, const AdapterRows& of, InputGroup group, int layer, const float* x,
                         int cols, std::span<const GroupTask> tasks, float* dx);
  const float* drop(Stream& s, const AdapterRows& of, InputGroup group, int layer, const float* x, int cols);
  void drop_rows(Stream& s, const AdapterRows& of, InputGroup group, int layer, const float* x, float* y,
                 int cols, bool accumulate);
  AdapterRows all_rows() const { return {batch->segments, batch->row_keys.data(), batch->rows()}; }
  AdapterRows rows_of(const HeadChunk& chunk) const {
    return {chunk.parts, label_keys.data() + chunk.first, static_cast<int>(chunk.count)};
  }
  std::span<const GroupTask> through_gains(Stream& s, int layer, std::span<const GroupTask> tasks,
                                           GroupTasks& scaled);
  template <typename F>
  bool any_trainee(const F& is_so) const;
  int lowest_layer() const;
  void clear(const Stream& s, float* values, int rows, int cols) const;

  const Model& model;
  const ModelConfig& config;
  const Kernels& k;
  const TrainingKernels& t;
  const PassLimits limits;
  KvPages pages;
  Transformer transformer;
  Buffer<float> block;
  TrainingMemory memory;

  const TrainingBatch* batch = nullptr;  // of the pass at hand, as what follows
  std::span<Trainee> trainees;
  bool dropping = false;
  Batch step;
  std::vector<LoraSegment> segments;
  std::vector<AttentionBackwardSequence> sequences;
  std::vector<int32_t> label_rows, labels;
  std::vector<float> weights;
  std::vector<uint64_t> label_keys;
  std::vector<HeadChunk> chunks;
  std::function<void()> between;
};

// Whether it is so of the parameters of a trainee of the batch.
template <typename F>
bool TrainingPass::Impl::any_trainee(const F& is_so) const {
  return std::ranges::any_of(batch->segments, [&](const TrainingSegment& segment) {
    return is_so(*trainees[static_cast<size_t>(segment.trainee)].parameters);
  });
}

}  // namespace chorus
