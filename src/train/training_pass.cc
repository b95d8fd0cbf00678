#include "train/training_pass.h"

#include <algorithm>
#include <array>
#include <cassert>

#include "model/kv_pages.h"
#include "model/transformer.h"
#include "train/training_memory.h"

namespace chorus {
namespace {

StepLimits step_limits(const PassLimits& limits) {
  return {.rows = limits.rows,
          .logit_rows = limits.label_rows,
          .context_length = limits.sequence_rows,
          .lora_floats_per_row = limits.rank,
          .segments = limits.sequences};
}

int pages_of(const PassLimits& limits) { return limits.rows / kPagePositions + limits.sequences; }

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

}  // namespace

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

TrainingPass::Impl::Impl(const Model& m, const Kernels& kn, const TrainingKernels& tr, const PassLimits& l,
                         int threads, bool exact)
    : model(m),
      config(m.config),
      k(kn),
      t(tr),
      limits(l),
      pages(m.config, kn.exact_kv, pages_of(l)),
      transformer(m, kn, pages, step_limits(l), exact) {
  Arena counting;
  lay_out(counting, config, limits, threads);
  block = Buffer<float>(counting.floats());
  Arena giving(block.data());
  memory = lay_out(giving, config, limits, threads);
}

void TrainingPass::Impl::start(ThreadTeam& team, const TrainingBatch& of, std::span<Trainee> adapters,
                               bool with_dropout) {
  assert(of.rows() <= limits.rows && static_cast<int>(of.sequences.size()) <= limits.sequences);
  batch = &of;
  trainees = adapters;
  dropping =
      with_dropout && std::ranges::any_of(trainees, [](const Trainee& one) { return one.dropout > 0; });
  segments.clear();
  for (const TrainingSegment& segment : of.segments) {
    const Trainee& trainee = trainees[static_cast<size_t>(segment.trainee)];
    segments.push_back({&trainee.packed->adapter(), segment.row_begin, segment.row_end, 1});
  }
  sequences.clear();
  for (const AttentionSequence& one : of.sequences) sequences.push_back({one.row_begin, one.row_end});
  label_rows.clear();
  labels.clear();
  weights.clear();
  label_keys.clear();
  for (const LabelRow& label : of.labels) {
    label_rows.push_back(label.row);
    labels.push_back(label.label);
    weights.push_back(label.weight);
    label_keys.push_back(of.row_keys[static_cast<size_t>(label.row)]);
  }
  cut_labels();
  step = {of.tokens, of.positions, of.slots, of.sequences, segments, {}};
  LoraInput lora_input;
  if (dropping) {
    lora_input = [this](Stream& s, InputGroup group, int layer, const float* x, int cols) {
      return drop(s, all_rows(), group, layer, x, cols);
    };
  }
  transformer.begin(team, step, std::move(lora_input));
}

// Runs piece(stream, 0), ... on all members: in one run of the team, or, where somebody is to be asked in
// between, in one for each. A piece ends with a sync.
template <typename F>
void TrainingPass::Impl::run_pieces(ThreadTeam& team, int count, const F& piece) {
  const auto run = [&](int begin, int end) {
    team.run([&](TeamMember& member) {
      Stream s{&member, nullptr};
      for (int i = begin; i < end; ++i) piece(s, i);
    });
  };
  if (!between) return run(0, count);
  for (int i = 0; i < count; ++i) {
    between();
    run(i, i + 1);
  }
}

void TrainingPass::Impl::forward(Stream& s, int index, bool keep) {
  if (index == 0) transformer.embed(s);
  const bool kept = keep && index >= lowest_layer();
  transformer.layer(s, index, kept ? memory.tapes[static_cast<size_t>(index)] : LayerTape{});
}

int TrainingPass::Impl::lowest_layer() const {
  int lowest = static_cast<int>(config.layers.size());
  for (const TrainingSegment& segment : batch->segments) {
    lowest = std::min(lowest, trainees[static_cast<size_t>(segment.trainee)].parameters->lowest_layer());
  }
  return lowest;
}

// This member's share of rows of zeros.
void TrainingPass::Impl::clear(const Stream& s, float* values, int rows, int cols) const {
  const auto [begin, end] = s.member->share(rows);
  std::fill(values + begin * cols, values + end * cols, 0.0f);
}

// The loss of some labels, so that logits never stand for more; and what it gives back to the residual
// stream, which begins with none at the first of them.
void TrainingPass::Impl::head(Stream& s, const HeadChunk& chunk, std::span<double> nll, bool backward) {
  if (backward && chunk.first == 0) clear(s, memory.dx, batch->rows(), config.hidden);
  const size_t first = chunk.first;
  LoraInput lora_input;
  if (dropping && !chunk.parts.empty()) {
    lora_input = [this, &chunk](Stream& stream, InputGroup group, int layer, const float* x, int cols) {
      return drop(stream, rows_of(chunk), group, layer, x, cols);
    };
  }
  transformer.head(s, std::span<const int32_t>(label_rows).subspan(first, chunk.count), memory.logits,
                   chunk.segments, lora_input);
  t.cross_entropy(s, {.logits = memory.logits,
                      .labels = labels.data() + first,
                      .weights = backward ? weights.data() + first : nullptr,
                      .soft_cap = config.final_soft_cap,
                      .rows = static_cast<int>(chunk.count),
                      .vocab = config.vocab,
                      .nll = nll.data() + first});
  k.sync(s);
  if (backward) head_backward(s, chunk);
}

// The labels in chunks that the limits allow, with the rows of each that an adapter of the head is on.
void TrainingPass::Impl::cut_labels() {
  chunks.clear();
  const auto most = static_cast<size_t>(limits.label_rows);
  for (size_t first = 0; first < labels.size(); first += most) {
    HeadChunk chunk{first, std::min(most, labels.size() - first), {}, {}};
    const auto rows = std::span<const int32_t>(label_rows).subspan(first, chunk.count);
    for (const TrainingSegment& segment : batch->segments) {
      const Trainee& trainee = trainees[static_cast<size_t>(segment.trainee)];
      const auto begin = std::ranges::lower_bound(rows, segment.row_begin) - rows.begin();
      const auto end = std::ranges::lower_bound(rows, segment.row_end) - rows.begin();
      if (begin == end || trainee.parameters->find(0, Target::kHead) == nullptr) continue;
      chunk.parts.push_back({segment.trainee, static_cast<int>(begin), static_cast<int>(end)});
      chunk.segments.push_back(
          {&trainee.packed->adapter(), static_cast<int>(begin), static_cast<int>(end), 1});
    }
    chunks.push_back(std::move(chunk));
  }
}

// The gradients of the head's adapters, and what they give back to the head's input. Logits are dy by now;
// the layers' buffers are free.
void TrainingPass::Impl::head_adapters_backward(Stream& s, const HeadChunk& chunk) {
  if (chunk.parts.empty()) return;
  normalise(s, memory.head_x, model.final_norm, static_cast<int>(chunk.count));
  const GroupTask task{Target::kHead, memory.logits, config.vocab, nullptr, nullptr, nullptr};
  adapter_gradients(s, rows_of(chunk), InputGroup::kHead, 0, memory.h, config.hidden, {&task, 1},
                    memory.d_head_h);
}

void TrainingPass::Impl::head_backward(Stream& s, const HeadChunk& chunk) {
  const auto rows = std::span<const int32_t>(label_rows).subspan(chunk.first, chunk.count);
  const int count = static_cast<int>(chunk.count), cols = config.hidden;
  const auto member = static_cast<size_t>(s.member->index());
  const LinearBackwardTask task{&model.head_matrix(), memory.logits, config.vocab};
  t.linear_backward(s, {.tasks = {&task, 1},
                        .dx = memory.d_head_h,
                        .rows = count,
                        .shared = reinterpret_cast<std::byte*>(memory.linear_shared),
                        .own = reinterpret_cast<std::byte*>(memory.linear_own[member])});
  const auto [begin, end] = s.member->share(count);
  const float* residual = transformer.residual(s);
  for (int64_t i = begin; i < end; ++i) {
    std::copy_n(residual + int64_t{rows[static_cast<size_t>(i)]} * cols, cols, memory.head_x + i * cols);
  }
  k.sync(s);
  head_adapters_backward(s, chunk);
  t.rms_norm_backward(s, {.x = memory.head_x,
                          .dy = memory.d_head_h,
                          .weight = model.final_norm.data(),
                          .dx = memory.d_head_x,
                          .rows = count,
                          .cols = cols,
                          .eps = config.norm_eps,
                          .accumulate = false});
  k.sync(s);
  for (int64_t i = begin; i < end; ++i) {
    const float* from = memory.d_head_x + i * cols;
    float* to = memory.dx + int64_t{rows[static_cast<size_t>(i)]} * cols;
    for (int64_t c = 0; c < cols; ++c) to[c] += from[c];
  }
  k.sync(s);
}

// What adapters of the group read under dropout; the same rows are dropped whenever it is asked for.
const float* TrainingPass::Impl::drop(Stream& s, const AdapterRows& of, InputGroup group, int layer,
                                      const float* x, int cols) {
  drop_rows(s, of, group, layer, x, memory.dropped, cols, false);
  return memory.dropped;
}

void TrainingPass::Impl::drop_rows(Stream& s, const AdapterRows& of, InputGroup group, int layer,
                                   const float* x, float* y, int cols, bool accumulate) {
  // The head's stream is what a layer more would begin with.
  const uint64_t stream = group == InputGroup::kHead
                              ? config.layers.size() * kLayerGroups
                              : static_cast<uint64_t>(layer * kLayerGroups) + static_cast<uint64_t>(group);
  for (const TrainingSegment& segment : of.parts) {
    const Trainee& trainee = trainees[static_cast<size_t>(segment.trainee)];
    const int64_t offset = int64_t{segment.row_begin} * cols;
    t.dropout(s, {.x = x + offset,
                  .y = y + offset,
                  .row_keys = of.keys + segment.row_begin,
                  .key = stream_key(trainee.dropout_key, stream),
                  .rows = segment.row_end - segment.row_begin,
                  .cols = cols,
                  .p = trainee.dropout,
                  .accumulate = accumulate});
  }
}

// Whether it is so of the parameters of a trainee of the batch.
template <typename F>
bool TrainingPass::Impl::any_trainee(const F& is_so) const {
  return std::ranges::any_of(batch->segments, [&](const TrainingSegment& segment) {
    return is_so(*trainees[static_cast<size_t>(segment.trainee)].parameters);
  });
}

// The tasks as the linears within DoRA's gains see them, and the gradients of the magnitudes. Rows without
// DoRA stay as they are.
std::span<const GroupTask> TrainingPass::Impl::through_gains(Stream& s, int layer,
                                                             std::span<const GroupTask> tasks,
                                                             GroupTasks& scaled) {
  const auto has_gains = [&](const LoraParameters& parameters) {
    return parameters.shape().dora && std::ranges::any_of(tasks, [&](const GroupTask& task) {
             return parameters.find(layer, task.target) != nullptr;
           });
  };
  if (!limits.dora || !any_trainee(has_gains)) return tasks;
  std::ranges::copy(tasks, scaled.begin());
  for (GroupTask& task : std::span(scaled).first(tasks.size())) {
    for (const TrainingSegment& segment : batch->segments) {
      const Trainee& trainee = trainees[static_cast<size_t>(segment.trainee)];
      const LoraParameters& parameters = *trainee.parameters;
      const LoraLinear* linear = parameters.find(layer, task.target);
      const int64_t at = int64_t{segment.row_begin} * task.n;
      const int rows = segment.row_end - segment.row_begin;
      if (linear == nullptr || !parameters.shape().dora) {
        const auto [begin, end] = s.member->share(int64_t{rows} * task.n);
        if (task.dz != task.dy) std::copy(task.dy + at + begin, task.dy + at + end, task.dz + at + begin);
        continue;
      }
      const auto index = static_cast<size_t>(linear - parameters.linears().data());
      t.dora_backward(s, {.y = task.y + at,
                          .before = task.before == nullptr ? nullptr : task.before + at,
                          .gain = trainee.packed->gain(index).data(),
                          .magnitude = parameters.values().data() + linear->m,
                          .dy = task.dy + at,
                          .dz = task.dz + at,
                          .d_magnitude = trainee.gradient.data() + linear->m,
                          .rows = rows,
                          .n = task.n});
    }
    task.dy = task.dz;
  }
  k.sync(s);
  return std::span(scaled).first(tasks.size());
}

// dx = what the linears of a group give back to their input x, and the gradients of their adapters. dx may be
// null: then only those.
void TrainingPass::Impl::group_backward(Stream& s, int layer, InputGroup group, const float* x, int cols,
                                        std::span<const GroupTask> outer, float* dx) {
  GroupTasks scaled;
  const std::span<const GroupTask> tasks = through_gains(s, layer, outer, scaled);
  if (dx != nullptr) {
    std::array<LinearBackwardTask, kMaxGroup> linears;
    for (size_t i = 0; i < tasks.size(); ++i) {
      linears[i] = {&model.linear(layer, tasks[i].target), tasks[i].dy, tasks[i].n};
    }
    t.linear_backward(
        s, {.tasks = std::span(linears).first(tasks.size()),
            .dx = dx,
            .rows = batch->rows(),
            .shared = reinterpret_cast<std::byte*>(memory.linear_shared),
            .own = reinterpret_cast<std::byte*>(memory.linear_own[static_cast<size_t>(s.member->index())])});
  }
  const auto is_adapted = [&](const LoraParameters& parameters) {
    return parameters.find(layer, group) != nullptr;
  };
  if (any_trainee(is_adapted)) return adapter_gradients(s, all_rows(), group, layer, x, cols, tasks, dx);
  k.sync(s);
}

// The gradients of the adapters of a group, whose input was x before dropout; dx, if it is not null, += what
// goes through them.
void TrainingPass::Impl::adapter_gradients(Stream& s, const AdapterRows& of, InputGroup group, int layer,
                                           const float* x, int cols, std::span<const GroupTask> tasks,
                                           float* dx) {
  if (!dropping) return adapters_backward(s, of, group, layer, x, cols, tasks, dx);
  const float* dropped = drop(s, of, group, layer, x, cols);
  if (dx != nullptr) clear(s, memory.d_dropped, of.rows, cols);
  k.sync(s);
  adapters_backward(s, of, group, layer, dropped, cols, tasks, dx == nullptr ? nullptr : memory.d_dropped);
  if (dx != nullptr) drop_rows(s, of, group, layer, memory.d_dropped, dx, cols, true);
  k.sync(s);
}

// The same for what they read.
void TrainingPass::Impl::adapters_backward(Stream& s, const AdapterRows& of, InputGroup group, int layer,
                                           const float* x, int cols, std::span<const GroupTask> tasks,
                                           float* dx) {
  std::vector<std::array<LoraBackwardLinear, kMaxGroup>> linears(of.parts.size());
  std::vector<LoraBackwardSlice> slices;
  for (size_t i = 0; i < of.parts.size(); ++i) {
    const TrainingSegment& segment = of.parts[i];
    const Trainee& trainee = trainees[static_cast<size_t>(segment.trainee)];
    const LoraParameters& parameters = *trainee.parameters;
    const LoraGroup* adapted = parameters.find(layer, group);
    if (adapted == nullptr) continue;
    const int64_t row = segment.row_begin;
    size_t count = 0;
    for (const GroupTask& task : tasks) {
      const LoraLinear* linear = parameters.find(layer, task.target);
      if (linear == nullptr) continue;
      linears[i][count++] = {.dy = task.dy + row * task.n,
                             .dy_stride = task.n,
                             .b = parameters.values().data() + linear->b,
                             .db = trainee.gradient.data() + linear->b,
                             .n = task.n};
    }
    slices.push_back({.linears = std::span(linears[i]).first(count),
                      .x = x + row * cols,
                      .a = parameters.values().data() + adapted->a,
                      .at = trainee.packed->transposed().data() + adapted->a,
                      .scale = parameters.scale(),
                      .rows = segment.row_end - segment.row_begin,
                      .rank = parameters.rank(),
                      .da = trainee.gradient.data() + adapted->a,
                      .dx = dx == nullptr ? nullptr : dx + row * cols,
                      .work = memory.lora_work + 2 * row * limits.rank});
  }
  t.lora_backward(s, {slices, cols});
  k.sync(s);
}

// The gradient of a branch before its post-norm, if the architecture has one: else the residual stream's.
const float* TrainingPass::Impl::branch_gradient(Stream& s, const float* branch,
                                                 const NormWeight& post_norm) {
  if (!config.post_norms) return memory.dx;
  t.rms_norm_backward(s, {.x = branch,
                          .dy = memory.dx,
                          .weight = post_norm.data(),
                          .dx = memory.d_branch,
                          .rows = batch->rows(),
                          .cols = config.hidden,
                          .eps = config.norm_eps,
                          .accumulate = false});
  k.sync(s);
  return memory.d_branch;
}

void TrainingPass::Impl::normalise(Stream& s, const float* x, const NormWeight& weight, int rows) {
  k.rms_norm(s, {.x = x,
                 .y = memory.h,
                 .weight = weight.data(),
                 .x_stride = config.hidden,
                 .y_stride = config.hidden,
                 .rows = rows,
                 .cols = config.hidden,
                 .eps = config.norm_eps});
  k.sync(s);
}

void TrainingPass::Impl::add_norm_gradient(Stream& s, const float* x, const NormWeight& weight) {
  t.rms_norm_backward(s, {.x = x,
                          .dy = memory.dh,
                          .weight = weight.data(),
                          .dx = memory.dx,
                          .rows = batch->rows(),
                          .cols = config.hidden,
                          .eps = config.norm_eps});
  k.sync(s);
}

void TrainingPass::Impl::mlp_backward(Stream& s, int index, const LayerTape& tape) {
  const LayerWeights& w = model.layers[static_cast<size_t>(index)];
  const bool last = index + 1 == static_cast<int>(config.layers.size());
  const float* after = last ? transformer.residual(s) : memory.tapes[static_cast<size_t>(index + 1)].x;
  const GroupTask down{Target::kDown,
                       branch_gradient(s, tape.ffn_branch, w.ffn_post_norm),
                       config.hidden,
                       config.post_norms ? tape.ffn_branch : after,
                       config.post_norms ? nullptr : tape.middle,
                       memory.d_branch};
  group_backward(s, index, InputGroup::kDown, tape.gated, config.ffn, {&down, 1}, memory.d_gated);
  // But with DoRA the gradients take the places of what they are of.
  float* d_gate = limits.dora ? memory.d_gate : tape.gate;
  float* d_up = limits.dora ? memory.d_up : tape.up;
  t.gated_backward(s, {.gate = tape.gate,
                       .up = tape.up,
                       .dy = memory.d_gated,
                       .d_gate = d_gate,
                       .d_up = d_up,
                       .count = int64_t{batch->rows()} * config.ffn,
                       .activation = config.activation});
  k.sync(s);
  normalise(s, tape.middle, w.ffn_norm, batch->rows());
  const std::array<GroupTask, 2> tasks = {{{Target::kGate, d_gate, config.ffn, tape.gate, nullptr, d_gate},
                                           {Target::kUp, d_up, config.ffn, tape.up, nullptr, d_up}}};
  group_backward(s, index, InputGroup::kGateUp, memory.h, config.hidden, tasks, memory.dh);
  add_norm_gradient(s, tape.middle, w.ffn_norm);
}

void TrainingPass::Impl::attention_backward(Stream& s, int index, const LayerTape& tape, bool lowest) {
  const LayerWeights& w = model.layers[static_cast<size_t>(index)];
  const LayerConfig& layer = config.layers[static_cast<size_t>(index)];
  const GroupTask o{Target::kO,
                    branch_gradient(s, tape.attention_branch, w.attention_post_norm),
                    config.hidden,
                    config.post_norms ? tape.attention_branch : tape.middle,
                    config.post_norms ? nullptr : tape.x,
                    memory.d_branch};
  group_backward(s, index, InputGroup::kO, tape.attended, config.q_width(), {&o, 1}, memory.d_attended);
  t.attention_backward(s, {.q = tape.q,
                           .k = tape.k,
                           .v = tape.v,
                           .q_norm = w.q_norm.data(),
                           .k_norm = w.k_norm.data(),
                           .norm_eps = config.norm_eps,
                           .rope = transformer.rotations(index),
                           .sequences = sequences,
                           .heads = config.heads,
                           .kv_heads = config.kv_heads,
                           .dim = config.head_dim,
                           .window = layer.window,
                           .scale = config.attention_scale,
                           .soft_cap = config.attention_soft_cap,
                           .y = tape.attended,
                           .dy = memory.d_attended,
                           .dq = memory.dq,
                           .dk = memory.dk,
                           .dv = memory.dv,
                           .own = memory.attention_own[static_cast<size_t>(s.member->index())]});
  k.sync(s);
  normalise(s, tape.x, w.attention_norm, batch->rows());
  const std::array<GroupTask, 3> tasks = {
      {{Target::kQ, memory.dq, config.q_width(), tape.q, nullptr, memory.dq},
       {Target::kK, memory.dk, config.kv_width(), tape.k, nullptr, memory.dk},
       {Target::kV, memory.dv, config.kv_width(), tape.v, nullptr, memory.dv}}};
  group_backward(s, index, InputGroup::kQkv, memory.h, config.hidden, tasks, lowest ? nullptr : memory.dh);
  if (!lowest) add_norm_gradient(s, tape.x, w.attention_norm);
}

void TrainingPass::Impl::layer_backward(Stream& s, int index, const LayerTape& tape, bool lowest) {
  if (tape.gated != nullptr) {
    mlp_backward(s, index, tape);
    attention_backward(s, index, tape, lowest);
    return;
  }
  transformer.layer_again(s, index, tape.x, memory.again);
  mlp_backward(s, index, memory.again);
  attention_backward(s, index, memory.again, lowest);
}

TrainingPass::TrainingPass(const Model& model, const Kernels& kernels, const TrainingKernels& training,
                           const PassLimits& limits, int threads, bool exact)
    : impl_(std::make_unique<Impl>(model, kernels, training, limits, threads, exact)) {}
TrainingPass::~TrainingPass() = default;

void TrainingPass::set_between(std::function<void()> between) { impl_->between = std::move(between); }

void TrainingPass::run(ThreadTeam& team, const TrainingBatch& batch, std::span<Trainee> trainees,
                       std::span<double> nll) {
  assert(nll.size() >= batch.labels.size());
  Impl& impl = *impl_;
  impl.start(team, batch, trainees, true);
  const int layers = static_cast<int>(impl.config.layers.size()), lowest = impl.lowest_layer();
  const int heads = static_cast<int>(impl.chunks.size()), back = layers + heads;
  impl.run_pieces(team, back + layers - lowest, [&](Stream& s, int i) {
    if (i < layers) return impl.forward(s, i, true);
    if (i < back) return impl.head(s, impl.chunks[static_cast<size_t>(i - layers)], nll, true);
    const int layer = layers - 1 - (i - back);
    impl.layer_backward(s, layer, impl.memory.tapes[static_cast<size_t>(layer)], layer == lowest);
  });
}

void TrainingPass::evaluate(ThreadTeam& team, const TrainingBatch& batch, std::span<Trainee> trainees,
                            std::span<double> nll) {
  assert(nll.size() >= batch.labels.size());
  Impl& impl = *impl_;
  impl.start(team, batch, trainees, false);
  const int layers = static_cast<int>(impl.config.layers.size());
  impl.run_pieces(team, layers + static_cast<int>(impl.chunks.size()), [&](Stream& s, int i) {
    if (i < layers) return impl.forward(s, i, false);
    impl.head(s, impl.chunks[static_cast<size_t>(i - layers)], nll, false);
  });
}

size_t TrainingPass::bytes(const ModelConfig& config, const PassLimits& limits, int threads) {
  Arena counting;
  lay_out(counting, config, limits, threads);
  const size_t rows = static_cast<size_t>(limits.rows);
  const auto width =
      static_cast<size_t>(3 * config.hidden + 3 * config.q_width() + 2 * config.kv_width() + 3 * config.ffn);
  // Pages are touched as they are used: more than these only by examples of a few tokens.
  const size_t pages = rows / kPagePositions * 5 / 4 + 1;
  return counting.floats() * sizeof(float) + rows * width * sizeof(float) +
         KvPages::page_bytes(config, KvType::kF16) * pages;
}

}  // namespace chorus
