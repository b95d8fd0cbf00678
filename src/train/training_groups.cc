#include "train/training_pass_impl.h"

namespace chorus {

// What adapters of the group read under dropout; the same rows are dropped whenever it is asked for.
const float* TrainingPass::Impl::drop(Stream& s, const AdapterRows& of, InputGroup group, int layer,
                                      const float* x, int cols) {
  drop_rows(s, of, group, layer, x, memory.dropped, cols, false);
  return memory.dropped;
}

void TrainingPass::Impl::drop_rows(Stream& s, const AdapterRows& of, InputGroup group, int layer,
                                   const float* x, float* y, int cols, bool accumulate) {
  // The head's stream is what a layer more would begin with.
  const uint64_t stream = group == InputGroup::kHead
                              ? config.layers.size() * kLayerGroups
                              : static_cast<uint64_t>(layer * kLayerGroups) + static_cast<uint64_t>(group);
  for (const TrainingSegment& segment : of.parts) {
    const Trainee& trainee = trainees[static_cast<size_t>(segment.trainee)];
    const int64_t offset = int64_t{segment.row_begin} * cols;
    t.dropout(s, {.x = x + offset,
                  .y = y + offset,
                  .row_keys = of.keys + segment.row_begin,
                  .key = stream_key(trainee.dropout_key, stream),
                  .rows = segment.row_end - segment.row_begin,
                  .cols = cols,
                  .p = trainee.dropout,
                  .accumulate = accumulate});
  }
}

// The tasks as the linears within DoRA's gains see them, and the gradients of the magnitudes. Rows without
// DoRA stay as they are.
std::span<const GroupTask> TrainingPass::Impl::through_gains(Stream& s, int layer,
                                                             std::span<const GroupTask> tasks,
                                                             GroupTasks& scaled) {
  const auto has_gains = [&](const LoraParameters& parameters) {
    return parameters.shape().dora && std::ranges::any_of(tasks, [&](const GroupTask& task) {
             return parameters.find(layer, task.target) != nullptr;
           });
  };
  if (!limits.dora || !any_trainee(has_gains)) return tasks;
  std::ranges::copy(tasks, scaled.begin());
  for (GroupTask& task : std::span(scaled).first(tasks.size())) {
    for (const TrainingSegment& segment : batch->segments) {
      const Trainee& trainee = trainees[static_cast<size_t>(segment.trainee)];
      const LoraParameters& parameters = *trainee.parameters;
      const LoraLinear* linear = parameters.find(layer, task.target);
      const int64_t at = int64_t{segment.row_begin} * task.n;
      const int rows = segment.row_end - segment.row_begin;
      if (linear == nullptr || !parameters.shape().dora) {
        const auto [begin, end] = s.member->share(int64_t{rows} * task.n);
        if (task.dz != task.dy) std::copy(task.dy + at + begin, task.dy + at + end, task.dz + at + begin);
        continue;
      }
      const auto index = static_cast<size_t>(linear - parameters.linears().data());
      t.dora_backward(s, {.y = task.y + at,
                          .before = task.before == nullptr ? nullptr : task.before + at,
                          .gain = trainee.packed->gain(index).data(),
                          .magnitude = parameters.values().data() + linear->m,
                          .dy = task.dy + at,
                          .dz = task.dz + at,
                          .d_magnitude = trainee.gradient.data() + linear->m,
                          .rows = rows,
                          .n = task.n});
    }
    task.dy = task.dz;
  }
  k.sync(s);
  return std::span(scaled).first(tasks.size());
}

// dx = what the linears of a group give back to their input x, and the gradients of their adapters. dx may be
// null: then only those.
void TrainingPass::Impl::group_backward(Stream& s, int layer, InputGroup group, const float* x, int cols,
                                        std::span<const GroupTask> outer, float* dx) {
  GroupTasks scaled;
  const std::span<const GroupTask> tasks = through_gains(s, layer, outer, scaled);
  if (dx != nullptr) {
    std::array<LinearBackwardTask, kMaxGroup> linears;
    for (size_t i = 0; i < tasks.size(); ++i) {
      linears[i] = {&model.linear(layer, tasks[i].target), tasks[i].dy, tasks[i].n};
    }
    t.linear_backward(
        s, {.tasks = std::span(linears).first(tasks.size()),
            .dx = dx,
            .rows = batch->rows(),
            .shared = reinterpret_cast<std::byte*>(memory.linear_shared),
            .own = reinterpret_cast<std::byte*>(memory.linear_own[static_cast<size_t>(s.member->index())])});
  }
  const auto is_adapted = [&](const LoraParameters& parameters) {
    return parameters.find(layer, group) != nullptr;
  };
  if (any_trainee(is_adapted)) return adapter_gradients(s, all_rows(), group, layer, x, cols, tasks, dx);
  k.sync(s);
}

// The gradients of the adapters of a group, whose input was x before dropout; dx, if it is not null, += what
// goes through them.
void TrainingPass::Impl::adapter_gradients(Stream& s, const AdapterRows& of, InputGroup group, int layer,
                                           const float* x, int cols, std::span<const GroupTask> tasks,
                                           float* dx) {
  if (!dropping) return adapters_backward(s, of, group, layer, x, cols, tasks, dx);
  const float* dropped = drop(s, of, group, layer, x, cols);
  if (dx != nullptr) clear(s, memory.d_dropped, of.rows, cols);
  k.sync(s);
  adapters_backward(s, of, group, layer, dropped, cols, tasks, dx == nullptr ? nullptr : memory.d_dropped);
  if (dx != nullptr) drop_rows(s, of, group, layer, memory.d_dropped, dx, cols, true);
  k.sync(s);
}

// The same for what they read.
void TrainingPass::Impl::adapters_backward(Stream& s, const AdapterRows& of, InputGroup group, int layer,
                                           const float* x, int cols, std::span<const GroupTask> tasks,
                                           float* dx) {
  std::vector<std::array<LoraBackwardLinear, kMaxGroup>> linears(of.parts.size());
  std::vector<LoraBackwardSlice> slices;
  for (size_t i = 0; i < of.parts.size(); ++i) {
    const TrainingSegment& segment = of.parts[i];
    const Trainee& trainee = trainees[static_cast<size_t>(segment.trainee)];
    const LoraParameters& parameters = *trainee.parameters;
    const LoraGroup* adapted = parameters.find(layer, group);
    if (adapted == nullptr) continue;
    const int64_t row = segment.row_begin;
    size_t count = 0;
    for (const GroupTask& task : tasks) {
      const LoraLinear* linear = parameters.find(layer, task.target);
      if (linear == nullptr) continue;
      linears[i][count++] = {.dy = task.dy + row * task.n,
                             .dy_stride = task.n,
                             .b = parameters.values().data() + linear->b,
                             .db = trainee.gradient.data() + linear->b,
                             .n = task.n};
    }
    slices.push_back({.linears = std::span(linears[i]).first(count),
                      .x = x + row * cols,
                      .a = parameters.values().data() + adapted->a,
                      .at = trainee.packed->transposed().data() + adapted->a,
                      .scale = parameters.scale(),
                      .rows = segment.row_end - segment.row_begin,
                      .rank = parameters.rank(),
                      .da = trainee.gradient.data() + adapted->a,
                      .dx = dx == nullptr ? nullptr : dx + row * cols,
                      .work = memory.lora_work + 2 * row * limits.rank});
  }
  t.lora_backward(s, {slices, cols});
  k.sync(s);
}

}  // namespace chorus
