#include "engine/batch_builder.h"

#include <cassert>

namespace chorus {

BatchBuilder::BatchBuilder(const BatchCapacity& capacity) {
  const size_t rows = static_cast<size_t>(capacity.rows);
  tokens_.reserve(rows);
  positions_.reserve(rows);
  slots_.reserve(rows);
  logit_rows_.reserve(static_cast<size_t>(capacity.logit_rows));
  sequences_.reserve(static_cast<size_t>(capacity.sequences));
  segments_.reserve(static_cast<size_t>(capacity.segments));
}

Batch BatchBuilder::build(std::span<const ScheduledSequence> plan) {
  tokens_.clear();
  positions_.clear();
  slots_.clear();
  logit_rows_.clear();
  sequences_.clear();
  segments_.clear();
  const Sequence* previous = nullptr;
  for (const ScheduledSequence& item : plan) {
    const Sequence& s = *item.sequence;
    const int row_begin = static_cast<int>(tokens_.size()), row_end = row_begin + item.rows;
    add_rows(item);
    sequences_.push_back({row_begin, row_end, s.block_table.data(), s.computed + item.rows});
    add_segments(s, previous, row_begin, row_end);
    for (int i = item.score_begin; i < item.score_end; ++i) logit_rows_.push_back(row_begin + i);
    if (item.samples) logit_rows_.push_back(row_end - 1);
    previous = &s;
  }
  return {tokens_, positions_, slots_, sequences_, segments_, logit_rows_};
}

void BatchBuilder::add_rows(const ScheduledSequence& item) {
  const Sequence& s = *item.sequence;
  assert(tokens_.size() + static_cast<size_t>(item.rows) <= tokens_.capacity());
  for (int position = s.computed; position < s.computed + item.rows; ++position) {
    const int64_t page = s.block_table[static_cast<size_t>(position / kPagePositions)];
    tokens_.push_back(s.tokens[static_cast<size_t>(position)]);
    positions_.push_back(position);
    slots_.push_back(page * kPagePositions + position % kPagePositions);
  }
}

void BatchBuilder::add_segments(const Sequence& sequence, const Sequence* previous, int row_begin,
                                int row_end) {
  const std::vector<AdapterUse>& adapters = sequence.request().adapters;
  if (previous != nullptr && previous->owner->adapter_key == sequence.owner->adapter_key) {
    for (size_t i = segments_.size() - adapters.size(); i < segments_.size(); ++i)
      segments_[i].row_end = row_end;
    return;
  }
  assert(segments_.size() + adapters.size() <= segments_.capacity());
  for (const AdapterUse& use : adapters)
    segments_.push_back({use.adapter.get(), row_begin, row_end, use.scale});
}

}  // namespace chorus
