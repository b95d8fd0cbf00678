#pragma once

#include <span>

#include "kernels/kernels.h"
#include "model/batch.h"

namespace chorus {

// The input of one or several linears.
struct LinearInput {
  const float* x = nullptr;  // [rows, k]
  QuantizedRows quantized;   // [rows, k], where the kernels want it
  int rows = 0;
};

// One linear of a group with a common input: y = x W^T + adapters, or y += that.
struct LinearTask {
  const PackedMatrix* weight = nullptr;
  Target target = Target::kQ;
  float* y = nullptr;  // [rows, n], contiguous
  bool accumulate = false;
  bool fine = false;  // also multiplies the rest of the input's quants, where it keeps them
};

constexpr int kMaxGroup = 3;  // q, k and v

// What the linears of a step need to know of its adapters.
struct LoraStep {
  std::span<const LoraSegment> segments;
  float* u = nullptr;  // [kMaxGroup][u_stride]: shrunk rows, shared by the team
  int64_t u_stride = 0;
  std::span<LoraSlice> scratch;  // this member's own, kMaxGroup x the segments
};

// The only place where base and LoRA meet: one base product over all rows for each task, then shrink and
// expand over the segments whose adapters have a pair for it. A step without such segments runs the base
// products alone. The input must be synced before, the outputs after; outputs must not overlap.
void linear_group(Stream& stream, const Kernels& kernels, const LinearInput& input,
                  std::span<const LinearTask> tasks, int layer, const LoraStep& lora);

}  // namespace chorus
