#include "model/linear.h"

#include <array>
#include <cassert>

namespace chorus {
namespace {

// Writes the slices of one linear to `out` and returns those it wrote.
std::span<LoraSlice> slices_of(const LoraStep& lora, int layer, Target target, float* u,
                               std::span<LoraSlice> out) {
  size_t count = 0;
  for (const LoraSegment& segment : lora.segments) {
    const LoraPair& pair = segment.adapter->pair(layer, target);
    if (pair.a.data == nullptr) continue;
    out[count++] = {pair.a, pair.b, segment.row_begin, segment.row_end, segment.scale * pair.scale, u};
    u += int64_t{segment.row_end - segment.row_begin} * pair.rank();
  }
  return out.first(count);
}

}  // namespace

void linear_group(Stream& stream, const Kernels& kernels, const LinearInput& input,
                  std::span<const LinearTask> tasks, int layer, const LoraStep& lora) {
  assert(tasks.size() <= kMaxGroup && lora.scratch.size() >= tasks.size() * lora.segments.size());
  std::array<LoraArgs, kMaxGroup> loras;
  bool adapted = false;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const std::span<LoraSlice> scratch = lora.scratch.subspan(i * lora.segments.size(), lora.segments.size());
    float* u = lora.u + static_cast<int64_t>(i) * lora.u_stride;
    loras[i] = {slices_of(lora, layer, tasks[i].target, u, scratch), input.x, tasks[i].y,
                tasks[i].weight->rows};
    if (loras[i].slices.empty()) continue;
    kernels.lora_shrink(stream, loras[i]);
    adapted = true;
  }
  for (const LinearTask& task : tasks) {
    LinearArgs args;
    args.weight = task.weight;
    args.x = input.x;
    args.quantized = input.quantized;
    if (!task.fine) args.quantized.rest = nullptr;
    args.y = task.y;
    args.y_stride = task.weight->rows;
    args.rows = input.rows;
    args.accumulate = task.accumulate;
    kernels.linear(stream, args);
  }
  if (!adapted) return;
  kernels.sync(stream);
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (!loras[i].slices.empty()) kernels.lora_expand_add(stream, loras[i]);
  }
}

}  // namespace chorus
