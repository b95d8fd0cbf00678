#include "model/transformer.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <vector>

#include "model/activations.h"
#include "model/linear.h"

namespace chorus {
namespace {

// Up to this many rows every member normalises all of them for itself: that is shorter than a barrier.
constexpr int kAloneRows = 2;

size_t floats(int rows, int cols) { return static_cast<size_t>(rows) * static_cast<size_t>(cols); }

// Rows of u that the largest step needs; a step of few rows keeps it in pieces.
int shrunk_rows(const StepLimits& limits) {
  const int rows = std::max(limits.rows, limits.logit_rows);
  return static_cast<int>(std::max<int64_t>(rows, lora_floats(kFewRows, std::min(rows, kFewRows), 1)));
}

// Row indices of the batch -> indices of its outputs, for adapters of the head. logit_rows ascend.
void head_segments(const Batch& batch, std::vector<LoraSegment>& out) {
  out.clear();
  for (LoraSegment segment : batch.segments) {
    const auto begin = std::ranges::lower_bound(batch.logit_rows, segment.row_begin);
    const auto end = std::ranges::lower_bound(batch.logit_rows, segment.row_end);
    segment.row_begin = static_cast<int>(begin - batch.logit_rows.begin());
    segment.row_end = static_cast<int>(end - batch.logit_rows.begin());
    if (segment.row_begin < segment.row_end) out.push_back(segment);
  }
}

}  // namespace

struct Transformer::Impl {
  Impl(const Model& m, const Kernels& kn, const KvPages& pages, const StepLimits& l, bool exact_inputs);

  void step(Stream& s);
  void attention_block(Stream& s, int index);
  void mlp_block(Stream& s, int index);
  void add_to_residual(Stream& s, const LinearInput& input, Target target, int index,
                       const NormWeight& post_norm);
  void head(Stream& s);
  QuantizedRows quantized(Activations& a) const { return exact ? a.fine() : a.quantized(); }
  LinearInput input(Activations& a, int rows) const { return exact ? a.fine_input(rows) : a.input(rows); }
  float* residual_rows(const Stream& s);
  RmsNormArgs norm_args(const float* x, float* y, const NormWeight& weight, int rows) const;
  Activations& norm_residual(Stream& s, const NormWeight& weight, const int32_t* row_index, int rows,
                             bool fine, Activations& shared);
  LoraStep lora(const Stream& s, std::span<const LoraSegment> segments);

  const Model& model;
  const ModelConfig& config;
  const Kernels& k;
  const KvPages& kv;
  const StepLimits limits;
  const bool exact;

  Buffer<float> residual;                  // [rows, hidden]
  Buffer<float> branch;                    // likewise, of models with post-norms
  Buffer<float> q, key, value;             // [rows, q_width], [rows, kv_width]
  Buffer<float> up;                        // [rows, ffn]
  Activations normed, attended, gated;     // inputs of q k v and gate up, of o, of down
  Activations outputs;                     // [logit_rows, hidden]
  std::vector<Buffer<float>> rope_tables;  // one a RopeConfig: [rows, head_dim / 2, 2]
  Buffer<float> partials;                  // of attention
  std::vector<int32_t> arrivals;           // likewise
  Buffer<float> shrunk;
  std::vector<LoraSegment> output_segments;

  struct Own {  // by a member, for itself
    std::vector<LoraSlice> slices;
    Activations normed;
    Buffer<float> residual;  // of models with post-norms: what they add, a member adds to its own
  };
  std::vector<Own> own;  // one a member

  const Batch* batch = nullptr;  // of the step being run
  std::span<float> logits;
};

Transformer::Impl::Impl(const Model& m, const Kernels& kn, const KvPages& pages, const StepLimits& l,
                        bool exact_inputs)
    : model(m),
      config(m.config),
      k(kn),
      kv(pages),
      limits(l),
      exact(exact_inputs),
      residual(floats(l.rows, config.hidden)),
      branch(floats(config.post_norms ? l.rows : 0, config.hidden)),
      q(floats(l.rows, config.q_width())),
      key(floats(l.rows, config.kv_width())),
      value(floats(l.rows, config.kv_width())),
      up(floats(l.rows, config.ffn)),
      normed(l.rows, config.hidden, kn.int8_activations, true),
      attended(l.rows, config.q_width(), kn.int8_activations, exact),
      gated(l.rows, config.ffn, kn.int8_activations, exact),
      outputs(l.logit_rows, config.hidden, kn.int8_activations, true),
      partials(attention_partials(l.rows, config.heads, config.head_dim, l.context_length)),
      arrivals(attention_arrivals(l.rows, config.kv_heads)),
      shrunk(floats(kMaxGroup * shrunk_rows(l), l.lora_floats_per_row)) {
  for (size_t i = 0; i < config.ropes.size(); ++i) rope_tables.emplace_back(floats(l.rows, config.head_dim));
  output_segments.reserve(static_cast<size_t>(l.segments));
}

LoraStep Transformer::Impl::lora(const Stream& s, std::span<const LoraSegment> segments) {
  return {segments, shrunk.data(), own[static_cast<size_t>(s.member->index())].slices};
}

float* Transformer::Impl::residual_rows(const Stream& s) {
  const bool alone = config.post_norms && batch->rows() <= kAloneRows;
  return (alone ? own[static_cast<size_t>(s.member->index())].residual : residual).data();
}

RmsNormArgs Transformer::Impl::norm_args(const float* x, float* y, const NormWeight& weight, int rows) const {
  const int cols = config.hidden;
  return {.x = x,
          .y = y,
          .weight = weight.data(),
          .x_stride = cols,
          .y_stride = cols,
          .rows = rows,
          .cols = cols,
          .eps = config.norm_eps};
}

// The normalised rows of the residual stream, those of row_index if it is not null, ready for linears; in
// `shared` or in this member's own copy.
Activations& Transformer::Impl::norm_residual(Stream& s, const NormWeight& weight, const int32_t* row_index,
                                              int rows, bool fine, Activations& shared) {
  const bool alone = rows <= kAloneRows;
  Activations& out = alone ? own[static_cast<size_t>(s.member->index())].normed : shared;
  RmsNormArgs args = norm_args(residual_rows(s), out.values(), weight, rows);
  args.quantized = fine ? out.fine() : quantized(out);
  args.row_index = row_index;
  args.alone = alone;
  k.rms_norm(s, args);
  if (!alone) k.sync(s);
  return out;
}

// The residual stream gets W input (+ adapters), normalised first where the architecture says so.
void Transformer::Impl::add_to_residual(Stream& s, const LinearInput& input, Target target, int index,
                                        const NormWeight& post_norm) {
  float* y = config.post_norms ? branch.data() : residual.data();
  const LinearTask task{&model.linear(index, target), y, config.hidden, !config.post_norms, exact};
  linear_group(s, k, input, {&task, 1}, group_place(target).group, index, lora(s, batch->segments));
  k.sync(s);
  if (!config.post_norms) return;
  RmsNormArgs args = norm_args(y, residual_rows(s), post_norm, input.rows);
  args.accumulate = true;
  args.alone = args.y != residual.data();
  k.rms_norm(s, args);
  if (!args.alone) k.sync(s);
}

void Transformer::Impl::attention_block(Stream& s, int index) {
  const LayerWeights& w = model.layers[static_cast<size_t>(index)];
  const LayerConfig& layer = config.layers[static_cast<size_t>(index)];
  const int rows = batch->rows();
  Activations& rows_in = norm_residual(s, w.attention_norm, nullptr, rows, true, normed);
  // Of all that rounding the inputs of linears to 8 bits costs, V's share is the largest for its size:
  // SmolLM2 loses a fifth less for 2.5 % more products.
  const std::array<LinearTask, 3> qkv = {
      {{&model.linear(index, Target::kQ), q.data(), config.q_width(), false, exact},
       {&model.linear(index, Target::kK), key.data(), config.kv_width(), false, exact},
       {&model.linear(index, Target::kV), value.data(), config.kv_width(), false, true}}};
  linear_group(s, k, rows_in.fine_input(rows), qkv, InputGroup::kQkv, index, lora(s, batch->segments));
  k.sync(s);
  k.attention(s, {.q = q.data(),
                  .k = key.data(),
                  .v = value.data(),
                  .q_norm = w.q_norm.data(),
                  .k_norm = w.k_norm.data(),
                  .norm_eps = config.norm_eps,
                  .rope = rope_tables[static_cast<size_t>(layer.rope)].data(),
                  .slots = batch->slots.data(),
                  .kv = kv.layer(index),
                  .sequences = batch->sequences,
                  .heads = config.heads,
                  .window = layer.window,
                  .scale = config.attention_scale,
                  .soft_cap = config.attention_soft_cap,
                  .y = attended.values(),
                  .quantized = quantized(attended),
                  .workspace = {partials.data(), arrivals.data()}});
  k.sync(s);
  add_to_residual(s, input(attended, rows), Target::kO, index, w.attention_post_norm);
}

void Transformer::Impl::mlp_block(Stream& s, int index) {
  const LayerWeights& w = model.layers[static_cast<size_t>(index)];
  const int rows = batch->rows();
  Activations& rows_in = norm_residual(s, w.ffn_norm, nullptr, rows, false, normed);
  // The gate's output makes room for the product.
  const std::array<LinearTask, 2> tasks = {
      {{&model.linear(index, Target::kGate), gated.values(), config.ffn, false, exact},
       {&model.linear(index, Target::kUp), up.data(), config.ffn, false, exact}}};
  linear_group(s, k, input(rows_in, rows), tasks, InputGroup::kGateUp, index, lora(s, batch->segments),
               {gated.values(), config.activation, quantized(gated)});
  k.sync(s);
  add_to_residual(s, input(gated, rows), Target::kDown, index, w.ffn_post_norm);
}

// Logits of the rows that ask for them.
void Transformer::Impl::head(Stream& s) {
  const int rows = static_cast<int>(batch->logit_rows.size());
  if (rows == 0) return;
  Activations& rows_in = norm_residual(s, model.final_norm, batch->logit_rows.data(), rows, true, outputs);
  // Nothing after the head evens out what rounding its input costs: with 16 bits SmolLM2's mean KL falls from
  // 0.0021 to 0.0014, for 3 % of the time of a decode step of one row and one thread.
  const LinearTask task{&model.head_matrix(), logits.data(), config.vocab, false, true};
  linear_group(s, k, rows_in.fine_input(rows), {&task, 1}, InputGroup::kHead, 0, lora(s, output_segments));
  if (config.final_soft_cap > 0) {
    k.sync(s);
    k.soft_cap(s, {logits.data(), int64_t{rows} * config.vocab, config.final_soft_cap});
  }
}

void Transformer::Impl::step(Stream& s) {
  const int rows = batch->rows();
  k.embed(s, {&model.embedding.view, batch->tokens.data(), residual.data(), rows, config.embedding_scale});
  for (size_t i = 0; i < config.ropes.size(); ++i) {
    const RopeConfig& rope = config.ropes[i];
    k.rope_table(s, {batch->positions.data(), rope.inv_freq.data(), rope.attention_factor,
                     rope_tables[i].data(), rows, config.head_dim});
  }
  k.sync(s);
  if (float* rows_of_own = residual_rows(s); rows_of_own != residual.data()) {
    std::copy_n(residual.data(), floats(rows, config.hidden), rows_of_own);
  }
  for (int i = 0; i < static_cast<int>(config.layers.size()); ++i) {
    attention_block(s, i);
    mlp_block(s, i);
  }
  head(s);
}

Transformer::Transformer(const Model& model, const Kernels& kernels, const KvPages& kv,
                         const StepLimits& limits, bool exact)
    : impl_(std::make_unique<Impl>(model, kernels, kv, limits, exact)) {}
Transformer::~Transformer() = default;
Transformer::Transformer(Transformer&&) noexcept = default;

const StepLimits& Transformer::limits() const { return impl_->limits; }

void Transformer::forward(ThreadTeam& team, const Batch& batch, std::span<float> logits) {
  Impl& impl = *impl_;
  assert(batch.rows() >= 1 && batch.rows() <= impl.limits.rows);
  assert(static_cast<int>(batch.logit_rows.size()) <= impl.limits.logit_rows);
  assert(static_cast<int>(batch.segments.size()) <= impl.limits.segments);
  assert(logits.size() >= floats(static_cast<int>(batch.logit_rows.size()), impl.config.vocab));
  while (static_cast<int>(impl.own.size()) < team.size()) {  // the first step of a team only
    const int hidden = impl.config.hidden;
    impl.own.push_back({std::vector<LoraSlice>(static_cast<size_t>(impl.limits.segments)),
                        Activations(kAloneRows, hidden, impl.k.int8_activations, true),
                        Buffer<float>(floats(impl.config.post_norms ? kAloneRows : 0, hidden))});
  }
  head_segments(batch, impl.output_segments);
  impl.batch = &batch;
  impl.logits = logits;
  team.run([&impl](TeamMember& member) {
    Stream stream{&member, nullptr};
    impl.step(stream);
  });
}

}  // namespace chorus
