#include "train/training_pass_impl.h"

namespace chorus {

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

}  // namespace chorus
