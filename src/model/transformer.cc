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

  void begin(const ThreadTeam& team, const Batch& of, LoraInput input_of_lora);
  void embed(Stream& s);
  void attention_block(Stream& s, int index, const LayerTape& tape);
  void mlp_block(Stream& s, int index, const LayerTape& tape);
  void add_to_residual(Stream& s, LinearInput input, Target target, int index, const NormWeight& post_norm,
                       float* kept_branch);
  void head(Stream& s, std::span<const int32_t> rows, std::span<const LoraSegment> segments,
            const LoraInput& input_of_lora, float* logits);
  void keep_residual(Stream& s, float* to);
  const float* lora_x(Stream& s, const LoraInput& of, InputGroup group, int index, const float* x, int cols);
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
  LoraInput lora_input;          // likewise
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

const float* Transformer::Impl::lora_x(Stream& s, const LoraInput& of, InputGroup group, int index,
                                       const float* x, int cols) {
  if (!of) return nullptr;
  const float* y = of(s, group, index, x, cols);
  k.sync(s);
  return y;
}

// This member's share of a copy of the residual stream. It is read after a sync.
void Transformer::Impl::keep_residual(Stream& s, float* to) {
  if (to == nullptr) return;
  const auto [begin, end] = s.member->share(batch->rows());
  const int64_t cols = config.hidden;
  std::copy(residual_rows(s) + begin * cols, residual_rows(s) + end * cols, to + begin * cols);
}

// The residual stream gets W input (+ adapters), normalised first where the architecture says so.
void Transformer::Impl::add_to_residual(Stream& s, LinearInput input, Target target, int index,
                                        const NormWeight& post_norm, float* kept_branch) {
  float* own_branch = kept_branch != nullptr ? kept_branch : branch.data();
  float* y = config.post_norms ? own_branch : residual.data();
  const LinearTask task{&model.linear(index, target), y, config.hidden, !config.post_norms, exact};
  const InputGroup group = group_place(target).group;
  input.lora_x = lora_x(s, lora_input, group, index, input.x, task.weight->cols);
  linear_group(s, k, input, {&task, 1}, group, index, lora(s, batch->segments));
  k.sync(s);
  if (!config.post_norms) return;
  RmsNormArgs args = norm_args(y, residual_rows(s), post_norm, input.rows);
  args.accumulate = true;
  args.alone = args.y != residual.data();
  k.rms_norm(s, args);
  if (!args.alone) k.sync(s);
}

void Transformer::Impl::attention_block(Stream& s, int index, const LayerTape& tape) {
  const LayerWeights& w = model.layers[static_cast<size_t>(index)];
  const LayerConfig& layer = config.layers[static_cast<size_t>(index)];
  const int rows = batch->rows();
  float* const q_rows = tape.q != nullptr ? tape.q : q.data();
  float* const k_rows = tape.k != nullptr ? tape.k : key.data();
  float* const v_rows = tape.v != nullptr ? tape.v : value.data();
  float* const attended_rows = tape.attended != nullptr ? tape.attended : attended.values();
  keep_residual(s, tape.x);
  Activations& rows_in = norm_residual(s, w.attention_norm, nullptr, rows, true, normed);
  // Of all that rounding the inputs of linears to 8 bits costs, V's share is the largest for its size:
  // SmolLM2 loses a fifth less for 2.5 % more products.
  const std::array<LinearTask, 3> qkv = {
      {{&model.linear(index, Target::kQ), q_rows, config.q_width(), false, exact},
       {&model.linear(index, Target::kK), k_rows, config.kv_width(), false, exact},
       {&model.linear(index, Target::kV), v_rows, config.kv_width(), false, true}}};
  LinearInput normed_input = rows_in.fine_input(rows);
  normed_input.lora_x = lora_x(s, lora_input, InputGroup::kQkv, index, normed_input.x, config.hidden);
  linear_group(s, k, normed_input, qkv, InputGroup::kQkv, index, lora(s, batch->segments));
  k.sync(s);
  k.attention(s, {.q = q_rows,
                  .k = k_rows,
                  .v = v_rows,
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
                  .y = attended_rows,
                  .quantized = quantized(attended),
                  .workspace = {partials.data(), arrivals.data()}});
  k.sync(s);
  LinearInput attended_input = input(attended, rows);
  attended_input.x = attended_rows;
  add_to_residual(s, attended_input, Target::kO, index, w.attention_post_norm, tape.attention_branch);
}

void Transformer::Impl::mlp_block(Stream& s, int index, const LayerTape& tape) {
  const LayerWeights& w = model.layers[static_cast<size_t>(index)];
  const int rows = batch->rows();
  float* const gated_rows = tape.gated != nullptr ? tape.gated : gated.values();
  keep_residual(s, tape.middle);
  Activations& rows_in = norm_residual(s, w.ffn_norm, nullptr, rows, false, normed);
  // Where it is not kept, the gate's output makes room for the product.
  const std::array<LinearTask, 2> tasks = {
      {{&model.linear(index, Target::kGate), tape.gate != nullptr ? tape.gate : gated_rows, config.ffn, false,
        exact},
       {&model.linear(index, Target::kUp), tape.up != nullptr ? tape.up : up.data(), config.ffn, false,
        exact}}};
  LinearInput normed_input = input(rows_in, rows);
  normed_input.lora_x = lora_x(s, lora_input, InputGroup::kGateUp, index, normed_input.x, config.hidden);
  linear_group(s, k, normed_input, tasks, InputGroup::kGateUp, index, lora(s, batch->segments),
               {gated_rows, config.activation, quantized(gated)});
  k.sync(s);
  LinearInput gated_input = input(gated, rows);
  gated_input.x = gated_rows;
  add_to_residual(s, gated_input, Target::kDown, index, w.ffn_post_norm, tape.ffn_branch);
}

// Logits of the rows that are asked for; `segments` are of them.
void Transformer::Impl::head(Stream& s, std::span<const int32_t> asked, std::span<const LoraSegment> segments,
                             const LoraInput& input_of_lora, float* logits) {
  const int rows = static_cast<int>(asked.size());
  if (rows == 0) return;
  Activations& rows_in = norm_residual(s, model.final_norm, asked.data(), rows, true, outputs);
  // Nothing after the head evens out what rounding its input costs: with 16 bits SmolLM2's mean KL falls from
  // 0.0021 to 0.0014, for 3 % of the time of a decode step of one row and one thread.
  const LinearTask task{&model.head_matrix(), logits, config.vocab, false, true};
  LinearInput normed_input = rows_in.fine_input(rows);
  normed_input.lora_x = lora_x(s, input_of_lora, InputGroup::kHead, 0, normed_input.x, config.hidden);
  linear_group(s, k, normed_input, {&task, 1}, InputGroup::kHead, 0, lora(s, segments));
  if (config.final_soft_cap > 0) {
    k.sync(s);
    k.soft_cap(s, {logits, int64_t{rows} * config.vocab, config.final_soft_cap});
  }
}

void Transformer::Impl::embed(Stream& s) {
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
}

void Transformer::Impl::begin(const ThreadTeam& team, const Batch& of, LoraInput input_of_lora) {
  assert(of.rows() >= 1 && of.rows() <= limits.rows);
  assert(static_cast<int>(of.segments.size()) <= limits.segments);
  while (static_cast<int>(own.size()) < team.size()) {  // the first step of a team only
    own.push_back({std::vector<LoraSlice>(static_cast<size_t>(limits.segments)),
                   Activations(kAloneRows, config.hidden, k.int8_activations, true),
                   Buffer<float>(floats(config.post_norms ? kAloneRows : 0, config.hidden))});
  }
  batch = &of;
  lora_input = std::move(input_of_lora);
}

Transformer::Transformer(const Model& model, const Kernels& kernels, const KvPages& kv,
                         const StepLimits& limits, bool exact)
    : impl_(std::make_unique<Impl>(model, kernels, kv, limits, exact)) {}
Transformer::~Transformer() = default;
Transformer::Transformer(Transformer&&) noexcept = default;

const StepLimits& Transformer::limits() const { return impl_->limits; }

void Transformer::forward(ThreadTeam& team, const Batch& batch, std::span<float> logits) {
  Impl& impl = *impl_;
  assert(static_cast<int>(batch.logit_rows.size()) <= impl.limits.logit_rows);
  assert(logits.size() >= floats(static_cast<int>(batch.logit_rows.size()), impl.config.vocab));
  impl.begin(team, batch, {});
  head_segments(batch, impl.output_segments);
  team.run([&impl, &batch, logits](TeamMember& member) {
    Stream stream{&member, nullptr};
    impl.embed(stream);
    for (int i = 0; i < static_cast<int>(impl.config.layers.size()); ++i) {
      impl.attention_block(stream, i, {});
      impl.mlp_block(stream, i, {});
    }
    impl.head(stream, batch.logit_rows, impl.output_segments, {}, logits.data());
  });
}

void Transformer::begin(const ThreadTeam& team, const Batch& batch, LoraInput lora_input) {
  impl_->begin(team, batch, std::move(lora_input));
}

void Transformer::embed(Stream& stream) { impl_->embed(stream); }

void Transformer::layer(Stream& stream, int index, const LayerTape& tape) {
  impl_->attention_block(stream, index, tape);
  impl_->mlp_block(stream, index, tape);
}

void Transformer::layer_again(Stream& stream, int index, const float* x, const LayerTape& tape) {
  Impl& impl = *impl_;
  const int64_t rows = impl.batch->rows(), cols = impl.config.hidden;
  float* to = impl.residual_rows(stream);
  const bool alone = to != impl.residual.data();
  const auto [begin, end] = alone ? TeamMember::Range{0, rows} : stream.member->share(rows);
  std::copy(x + begin * cols, x + end * cols, to + begin * cols);
  impl.k.sync(stream);
  layer(stream, index, tape);
}

void Transformer::head(Stream& stream, std::span<const int32_t> rows, float* logits,
                       std::span<const LoraSegment> segments, const LoraInput& lora_input) {
  assert(static_cast<int>(rows.size()) <= impl_->limits.logit_rows);
  impl_->head(stream, rows, segments, lora_input, logits);
  impl_->k.sync(stream);
}

const float* Transformer::residual(const Stream& stream) const { return impl_->residual_rows(stream); }

const float* Transformer::rotations(int layer) const {
  const auto index = static_cast<size_t>(impl_->config.layers[static_cast<size_t>(layer)].rope);
  return impl_->rope_tables[index].data();
}

}  // namespace chorus
