#include "train/training_memory.h"

#include <algorithm>

#include "kernels/training.h"
#include "train/training_pass.h"

namespace chorus {
namespace {

LayerTape full_tape(Arena& arena, const ModelConfig& config, size_t rows) {
  const auto hidden = static_cast<size_t>(config.hidden), ffn = static_cast<size_t>(config.ffn);
  const auto q_width = static_cast<size_t>(config.q_width()),
             kv_width = static_cast<size_t>(config.kv_width());
  const size_t branch = config.post_norms ? hidden : 0;
  LayerTape tape;
  tape.x = arena.take(rows, hidden);
  tape.q = arena.take(rows, q_width);
  tape.k = arena.take(rows, kv_width);
  tape.v = arena.take(rows, kv_width);
  tape.attended = arena.take(rows, q_width);
  tape.middle = arena.take(rows, hidden);
  tape.gate = arena.take(rows, ffn);
  tape.up = arena.take(rows, ffn);
  tape.gated = arena.take(rows, ffn);
  if (config.post_norms) {
    tape.attention_branch = arena.take(rows, branch);
    tape.ffn_branch = arena.take(rows, branch);
  }
  return tape;
}

size_t linear_shared_bytes(const ModelConfig& config, const PassLimits& limits) {
  const int widest = std::max({config.q_width() + 2 * config.kv_width(), 2 * config.ffn, config.hidden});
  return std::max(linear_backward_bytes(limits.rows, widest),
                  linear_backward_bytes(limits.label_rows, config.vocab));
}

}  // namespace

TrainingMemory lay_out(Arena& arena, const ModelConfig& config, const PassLimits& limits, int threads) {
  const auto rows = static_cast<size_t>(limits.rows), labels = static_cast<size_t>(limits.label_rows);
  const auto hidden = static_cast<size_t>(config.hidden), ffn = static_cast<size_t>(config.ffn);
  const auto q_width = static_cast<size_t>(config.q_width()),
             kv_width = static_cast<size_t>(config.kv_width());
  const size_t layers = config.layers.size();
  const size_t kept = std::min(layers, static_cast<size_t>(limits.kept_layers));
  TrainingMemory memory;
  for (size_t i = 0; i < layers; ++i) {
    LayerTape only_x;
    if (i + kept < layers) only_x.x = arena.take(rows, hidden);
    memory.tapes.push_back(i + kept < layers ? only_x : full_tape(arena, config, rows));
  }
  if (kept < layers) memory.again = full_tape(arena, config, rows);
  memory.dx = arena.take(rows, hidden);
  memory.h = arena.take(rows, hidden);
  memory.dh = arena.take(rows, hidden);
  if (config.post_norms || limits.dora) memory.d_branch = arena.take(rows, hidden);
  if (limits.dora) {
    memory.d_gate = arena.take(rows, ffn);
    memory.d_up = arena.take(rows, ffn);
  }
  memory.d_attended = arena.take(rows, q_width);
  memory.dq = arena.take(rows, q_width);
  memory.dk = arena.take(rows, kv_width);
  memory.dv = arena.take(rows, kv_width);
  memory.d_gated = arena.take(rows, ffn);
  if (limits.dropout) {
    memory.dropped = arena.take(rows, std::max({hidden, q_width, ffn}));
    memory.d_dropped = arena.take(rows, std::max({hidden, q_width, ffn}));
  }
  memory.lora_work = arena.take(2 * rows, static_cast<size_t>(limits.rank));
  memory.logits = arena.take(labels, static_cast<size_t>(config.vocab));
  memory.head_x = arena.take(labels, hidden);
  memory.d_head_h = arena.take(labels, hidden);
  memory.d_head_x = arena.take(labels, hidden);
  memory.linear_shared = arena.take(1, linear_shared_bytes(config, limits) / sizeof(float) + 1);
  for (int i = 0; i < threads; ++i) {
    memory.linear_own.push_back(arena.take(1, kTrainingTileBytes / sizeof(float)));
    memory.attention_own.push_back(arena.take(
        1, attention_backward_floats(limits.sequence_rows, config.heads, config.kv_heads, config.head_dim)));
  }
  return memory;
}

}  // namespace chorus
