#pragma once

#include <cstddef>
#include <vector>

#include "model/transformer.h"

namespace chorus {

struct PassLimits;

// Hands out parts of one block of floats, each at a cache line; without a block it only counts.
class Arena {
 public:
  explicit Arena(float* block = nullptr) : block_(block) {}
  float* take(size_t rows, size_t cols) {
    float* at = block_ == nullptr ? nullptr : block_ + used_;
    used_ += (rows * cols + 15) / 16 * 16;
    return at;
  }
  size_t floats() const { return used_; }

 private:
  float* block_;
  size_t used_ = 0;
};

// What a pass works in; all [rows, ...] of the limits.
struct TrainingMemory {
  std::vector<LayerTape> tapes;  // of the layers; those that run again have only x
  LayerTape again;               // of a layer that runs again
  float* dx = nullptr;           // [hidden]: of the residual stream
  float* h = nullptr;            // [hidden]: the normalised input of linears, made again
  float* dh = nullptr;           // [hidden]: of it
  float* d_branch = nullptr;     // [hidden]: of what o or down gave, of models with post-norms or DoRA
  float* d_gate = nullptr;       // [ffn]: with DoRA, which needs gate and up themselves still
  float* d_up = nullptr;
  float* d_attended = nullptr;  // [q_width]
  float* dq = nullptr;
  float* dk = nullptr;
  float* dv = nullptr;
  float* d_gated = nullptr;  // [ffn]
  float* dropped = nullptr;  // [widest input]: adapters' input under dropout; null: no dropout
  float* d_dropped = nullptr;
  float* lora_work = nullptr;
  float* logits = nullptr;  // [label_rows, vocab]
  float* head_x = nullptr;  // [label_rows, hidden], as the next two
  float* d_head_h = nullptr;
  float* d_head_x = nullptr;
  float* linear_shared = nullptr;
  std::vector<float*> linear_own, attention_own;  // of the members
};

// Lays all of it out, in the same order whether the arena counts or gives.
TrainingMemory lay_out(Arena& arena, const ModelConfig& config, const PassLimits& limits, int threads);

}  // namespace chorus
