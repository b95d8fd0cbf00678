#include "train/training_batch.h"

#include <cassert>
#include <numeric>

#include "train/lora_parameters.h"

namespace chorus {

void TrainingBatch::clear() { *this = TrainingBatch(); }

void TrainingBatch::add(int trainee, std::span<const int32_t> ids, std::span<const uint8_t> label,
                        float weight, uint64_t key) {
  assert(ids.size() >= 2 && ids.size() == label.size());
  assert(segments.empty() || segments.back().trainee <= trainee);
  const int begin = rows(), length = static_cast<int>(ids.size()) - 1;
  for (int i = 0; i < length; ++i) {
    const auto next = static_cast<size_t>(i + 1);
    tokens.push_back(ids[next - 1]);
    positions.push_back(i);
    slots.push_back(int64_t{pages_} * kPagePositions + i);
    row_keys.push_back(stream_key(key, static_cast<uint64_t>(i)));
    if (label[next] != 0) labels.push_back({begin + i, ids[next], weight});
  }
  sequences.push_back({begin, rows(), nullptr, length});
  pages_ += (length + kPagePositions - 1) / kPagePositions;
  if (trainee < 0) return;
  if (segments.empty() || segments.back().trainee != trainee) {
    segments.push_back({trainee, begin, rows()});
  } else {
    segments.back().row_end = rows();
  }
}

void TrainingBatch::finish() {
  block_table.resize(static_cast<size_t>(pages_));
  std::iota(block_table.begin(), block_table.end(), 0);
  const int32_t* at = block_table.data();
  for (AttentionSequence& sequence : sequences) {
    sequence.block_table = at;
    at += (sequence.context_length + kPagePositions - 1) / kPagePositions;
  }
}

}  // namespace chorus
