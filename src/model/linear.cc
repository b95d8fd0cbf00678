#include "model/linear.h"

#include <cassert>

namespace chorus {

void linear_group(Stream& stream, const Kernels& kernels, const LinearInput& input,
                  std::span<const LinearTask> tasks, InputGroup group, int layer, const LoraStep& lora,
                  const GatedOutput& gated) {
  assert(lora.scratch.size() >= lora.segments.size());
  size_t count = 0;
  float* u = lora.u;
  for (const LoraSegment& segment : lora.segments) {
    const LoraMatrices& matrices = segment.adapter->group(layer, group);
    if (matrices.a.data == nullptr) continue;
    lora.scratch[count++] = {&matrices, segment.row_begin, segment.row_end, segment.scale, u};
    u += lora_floats(input.rows, segment.row_end - segment.row_begin, matrices.a.rows);
  }
  kernels.linear_group(
      stream, {input.x, input.quantized, input.rows, tasks, lora.scratch.first(count), gated, input.lora_x});
}

}  // namespace chorus
