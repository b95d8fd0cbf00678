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
  const float* lora_x = nullptr;  // [rows, k], what adapters read; null: x
};

// What the linears of a step need to know of its adapters.
struct LoraStep {
  std::span<const LoraSegment> segments;
  float* u = nullptr;            // shrunk rows, shared by the team
  std::span<LoraSlice> scratch;  // this member's own, as many as the segments
};

// The only place where base and LoRA meet: the products of all rows with the group's weights, `tasks` in the
// group's order, and what the adapters of the segments add to their rows. A step without adapters for the
// group runs the base products alone. The input must be synced before, the outputs after.
void linear_group(Stream& stream, const Kernels& kernels, const LinearInput& input,
                  std::span<const LinearTask> tasks, InputGroup group, int layer, const LoraStep& lora,
                  const GatedOutput& gated = {});

}  // namespace chorus
