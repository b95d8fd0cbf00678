#pragma once

#include <span>
#include <vector>

#include "engine/scheduler.h"
#include "model/batch.h"

namespace chorus {

struct BatchCapacity {
  int rows = 0, sequences = 0, segments = 0, logit_rows = 0;
};

// Turns a plan into the arrays of a Batch. Allocates in the constructor only.
class BatchBuilder {
 public:
  explicit BatchBuilder(const BatchCapacity& capacity);

  // The plan must be within the capacity and sorted so that equal adapters are neighbours: neighbours with
  // the same adapters and scales share segments, one for each adapter in the request's order. logit_rows has,
  // for each sequence of the plan in order, its rows to score and then the row it samples from. The result
  // views this object and the sequences' block tables: valid until the next call, or until one of them
  // changes.
  Batch build(std::span<const ScheduledSequence> plan);

 private:
  void add_rows(const ScheduledSequence& item);
  void add_segments(const Sequence& sequence, const Sequence* previous, int row_begin, int row_end);

  std::vector<int32_t> tokens_, positions_, logit_rows_;
  std::vector<int64_t> slots_;
  std::vector<AttentionSequence> sequences_;
  std::vector<LoraSegment> segments_;
};

}  // namespace chorus
