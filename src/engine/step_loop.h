#pragma once

#include <span>
#include <vector>

#include "engine/runtime.h"

namespace chorus {

// The same decode step again and again: one row of each of several sequences, which all have the same number
// of positions before it. For measurements of what segments add to a step.
class StepLoop {
 public:
  // Fills the first pages of the pool, which the engine must not be using, with sequences of random tokens.
  // `context` positions of `rows` sequences must fit the pool, and a sequence the rows of a step.
  StepLoop(Runtime& runtime, int rows, int context);

  // A step of the first `rows` sequences, and their logits.
  void step(int rows, std::span<const LoraSegment> segments);

 private:
  // Runs the positions [begin, end) of `count` sequences from the first on.
  void forward(int first, int count, int begin, int end, std::span<const LoraSegment> segments);

  Runtime& runtime_;
  int context_, pages_;                // of a sequence
  std::vector<int32_t> block_tables_;  // [rows][pages_]
  std::vector<int32_t> tokens_, positions_, logit_rows_;
  std::vector<int64_t> slots_;
  std::vector<AttentionSequence> sequences_;
  Buffer<float> logits_;
};

}  // namespace chorus
