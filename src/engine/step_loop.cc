#include "engine/step_loop.h"

#include <numeric>

namespace chorus {

StepLoop::StepLoop(Runtime& runtime, int rows, int context)
    : runtime_(runtime),
      context_(context),
      pages_((context + kPagePositions - 1) / kPagePositions),
      block_tables_(static_cast<size_t>(rows * pages_)),
      logits_(static_cast<size_t>(rows) * static_cast<size_t>(runtime.model().config.vocab)) {
  std::iota(block_tables_.begin(), block_tables_.end(), 0);
  for (int i = 0; i < rows; ++i) forward(i, 1, 0, context_, {});
}

void StepLoop::step(int rows, std::span<const LoraSegment> segments) {
  forward(0, rows, context_ - 1, context_, segments);
}

void StepLoop::forward(int first, int count, int begin, int end, std::span<const LoraSegment> segments) {
  tokens_.clear();
  positions_.clear();
  logit_rows_.clear();
  slots_.clear();
  sequences_.clear();
  for (int i = first; i < first + count; ++i) {
    const int32_t* table = block_tables_.data() + i * pages_;
    const int row_begin = static_cast<int>(tokens_.size());
    for (int position = begin; position < end; ++position) {
      tokens_.push_back((i * 7919 + position * 104729) % runtime_.model().config.vocab);
      positions_.push_back(position);
      slots_.push_back(int64_t{table[position / kPagePositions]} * kPagePositions +
                       position % kPagePositions);
    }
    sequences_.push_back({row_begin, static_cast<int>(tokens_.size()), table, end});
    logit_rows_.push_back(static_cast<int32_t>(tokens_.size()) - 1);
  }
  const Batch batch = {tokens_, positions_, slots_, sequences_, segments, logit_rows_};
  const size_t logits = logit_rows_.size() * static_cast<size_t>(runtime_.model().config.vocab);
  runtime_.runner().forward(batch, logits_.span().first(logits));
}

}  // namespace chorus
