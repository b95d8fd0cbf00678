#pragma once

#include <cstdint>
#include <span>

#include "kernels/kernels.h"
#include "model/adapter.h"

namespace chorus {

// Rows [row_begin, row_end) get adapter x scale. Rows of one sequence lie together, and sequences of one
// adapter side by side, so a segment is one piece of the batch. A mix is several segments over the same rows,
// applied in the order they stand here.
struct LoraSegment {
  const Adapter* adapter = nullptr;
  int row_begin = 0, row_end = 0;
  float scale = 1;
};

// One step's work: rows are tokens of any number of sequences, some in prefill, some in decode.
//   array        size       row i / sequence s / output j
//   tokens       rows       token id
//   positions    rows       its position in its sequence
//   slots        rows       where its K and V go: page * 16 + position % 16
//   sequences    sequences  rows, pages and context length; they cover all rows in order
//   segments     any        see above
//   logit_rows   outputs    the row whose next-token logits are wanted, ascending
struct Batch {
  std::span<const int32_t> tokens, positions;
  std::span<const int64_t> slots;
  std::span<const AttentionSequence> sequences;
  std::span<const LoraSegment> segments;
  std::span<const int32_t> logit_rows;
  int rows() const { return static_cast<int>(tokens.size()); }
};

}  // namespace chorus
