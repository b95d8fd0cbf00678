#include "train/training_pass_impl.h"

namespace chorus {

// The loss of some labels, so that logits never stand for more; and what it gives back to the residual
// stream, which begins with none at the first of them.
void TrainingPass::Impl::head(Stream& s, const HeadChunk& chunk, std::span<double> nll, bool backward) {
  if (backward && chunk.first == 0) clear(s, memory.dx, batch->rows(), config.hidden);
  const size_t first = chunk.first;
  LoraInput lora_input;
  if (dropping && !chunk.parts.empty()) {
    lora_input = [this, &chunk](Stream& stream, InputGroup group, int layer, const float* x, int cols) {
      return drop(stream, rows_of(chunk), group, layer, x, cols);
    };
  }
  transformer.head(s, std::span<const int32_t>(label_rows).subspan(first, chunk.count), memory.logits,
                   chunk.segments, lora_input);
  t.cross_entropy(s, {.logits = memory.logits,
                      .labels = labels.data() + first,
                      .weights = backward ? weights.data() + first : nullptr,
                      .soft_cap = config.final_soft_cap,
                      .rows = static_cast<int>(chunk.count),
                      .vocab = config.vocab,
                      .nll = nll.data() + first});
  k.sync(s);
  if (backward) head_backward(s, chunk);
}

// The labels in chunks that the limits allow, with the rows of each that an adapter of the head is on.
void TrainingPass::Impl::cut_labels() {
  chunks.clear();
  const auto most = static_cast<size_t>(limits.label_rows);
  for (size_t first = 0; first < labels.size(); first += most) {
    HeadChunk chunk{first, std::min(most, labels.size() - first), {}, {}};
    const auto rows = std::span<const int32_t>(label_rows).subspan(first, chunk.count);
    for (const TrainingSegment& segment : batch->segments) {
      const Trainee& trainee = trainees[static_cast<size_t>(segment.trainee)];
      const auto begin = std::ranges::lower_bound(rows, segment.row_begin) - rows.begin();
      const auto end = std::ranges::lower_bound(rows, segment.row_end) - rows.begin();
      if (begin == end || trainee.parameters->find(0, Target::kHead) == nullptr) continue;
      chunk.parts.push_back({segment.trainee, static_cast<int>(begin), static_cast<int>(end)});
      chunk.segments.push_back(
          {&trainee.packed->adapter(), static_cast<int>(begin), static_cast<int>(end), 1});
    }
    chunks.push_back(std::move(chunk));
  }
}

// The gradients of the head's adapters, and what they give back to the head's input. Logits are dy by now;
// the layers' buffers are free.
void TrainingPass::Impl::head_adapters_backward(Stream& s, const HeadChunk& chunk) {
  if (chunk.parts.empty()) return;
  normalise(s, memory.head_x, model.final_norm, static_cast<int>(chunk.count));
  const GroupTask task{Target::kHead, memory.logits, config.vocab, nullptr, nullptr, nullptr};
  adapter_gradients(s, rows_of(chunk), InputGroup::kHead, 0, memory.h, config.hidden, {&task, 1},
                    memory.d_head_h);
}

void TrainingPass::Impl::head_backward(Stream& s, const HeadChunk& chunk) {
  const auto rows = std::span<const int32_t>(label_rows).subspan(chunk.first, chunk.count);
  const int count = static_cast<int>(chunk.count), cols = config.hidden;
  const auto member = static_cast<size_t>(s.member->index());
  const LinearBackwardTask task{&model.head_matrix(), memory.logits, config.vocab};
  t.linear_backward(s, {.tasks = {&task, 1},
                        .dx = memory.d_head_h,
                        .rows = count,
                        .shared = reinterpret_cast<std::byte*>(memory.linear_shared),
                        .own = reinterpret_cast<std::byte*>(memory.linear_own[member])});
  const auto [begin, end] = s.member->share(count);
  const float* residual = transformer.residual(s);
  for (int64_t i = begin; i < end; ++i) {
    std::copy_n(residual + int64_t{rows[static_cast<size_t>(i)]} * cols, cols, memory.head_x + i * cols);
  }
  k.sync(s);
  head_adapters_backward(s, chunk);
  t.rms_norm_backward(s, {.x = memory.head_x,
                          .dy = memory.d_head_h,
                          .weight = model.final_norm.data(),
                          .dx = memory.d_head_x,
                          .rows = count,
                          .cols = cols,
                          .eps = config.norm_eps,
                          .accumulate = false});
  k.sync(s);
  for (int64_t i = begin; i < end; ++i) {
    const float* from = memory.d_head_x + i * cols;
    float* to = memory.dx + int64_t{rows[static_cast<size_t>(i)]} * cols;
    for (int64_t c = 0; c < cols; ++c) to[c] += from[c];
  }
  k.sync(s);
}

}  // namespace chorus
