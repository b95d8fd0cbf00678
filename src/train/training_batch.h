#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/kernels.h"

namespace chorus {

// A row whose next token is learned: what counts is weight * -log p(label | rows up to this one).
struct LabelRow {
  int32_t row = 0;
  int32_t label = 0;
  float weight = 0;
};

// Rows of one trainee's examples, [row_begin, row_end).
struct TrainingSegment {
  int trainee = 0;
  int row_begin = 0, row_end = 0;
};

// Whole examples, one after the other, those of one trainee side by side. No example sees another.
class TrainingBatch {
 public:
  void clear();
  // Appends an example's tokens, of the base alone if `trainee` is -1: its last one is only ever a label, and
  // no row. `key` is what dropout draws by, with the position.
  void add(int trainee, std::span<const int32_t> tokens, std::span<const uint8_t> label, float weight,
           uint64_t key);

  int rows() const { return static_cast<int>(tokens.size()); }
  int pages() const { return pages_; }

  std::vector<int32_t> tokens, positions;
  std::vector<int64_t> slots;
  std::vector<uint64_t> row_keys;
  std::vector<int32_t> block_table;          // page i is i: of all sequences, one after the other
  std::vector<AttentionSequence> sequences;  // views block_table once finish() has been called
  std::vector<TrainingSegment> segments;
  std::vector<LabelRow> labels;  // by row
  void finish();

 private:
  int pages_ = 0;
};

}  // namespace chorus
