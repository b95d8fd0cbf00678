#include "model/adapter_probe.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "model/kv_pages.h"
#include "model/transformer.h"

namespace chorus {
namespace {

// log(sum(exp(x))).
double log_total(std::span<const float> x) {
  const double max = *std::ranges::max_element(x);
  double sum = 0;
  for (const float value : x) sum += std::exp(value - max);
  return max + std::log(sum);
}

double kl(std::span<const float> p, std::span<const float> q) {
  const double p_total = log_total(p), q_total = log_total(q);
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double log_p = p[i] - p_total;
    sum += std::exp(log_p) * (log_p - (q[i] - q_total));
  }
  return sum;
}

// Adds one token's logits.
void compare(std::span<const float> one, std::span<const float> other, AdapterComparison& comparison) {
  comparison.divergence += kl(one, other);
  for (size_t i = 0; i < one.size(); ++i) {
    const double difference = std::abs(double{one[i]} - double{other[i]});
    if (!(difference <= comparison.difference)) comparison.difference = difference;
    comparison.largest = std::max(comparison.largest, std::abs(double{one[i]}));
  }
}

int rank_of(const Adapter* adapter) { return adapter == nullptr ? 1 : adapter->max_rank(); }

constexpr int kChunk = kPagePositions;  // tokens of a step

}  // namespace

double adapter_divergence(const Model& model, ThreadTeam& team, const Adapter& exact, const Adapter& other,
                          std::span<const int32_t> tokens) {
  return compare_adapters(model, team, &exact, &other, tokens).divergence;
}

AdapterComparison compare_adapters(const Model& model, ThreadTeam& team, const Adapter* one,
                                   const Adapter* other, std::span<const int32_t> tokens) {
  const int count = static_cast<int>(tokens.size()), pages = (count + kChunk - 1) / kChunk;
  const auto vocab = static_cast<size_t>(model.config.vocab);
  const Kernels& kernels = choose_kernels();
  KvPages kv(model.config, kernels.exact_kv, 2 * pages);
  Transformer transformer(
      model, kernels, kv,
      {.rows = 2 * kChunk,
       .logit_rows = 2 * kChunk,
       .context_length = count,
       .lora_floats_per_row = std::max(rank_of(one), rank_of(other)),
       .segments = 2},
      true);  // under int8 inputs any change at all rounds them anew, which would hide the form's
  std::vector<float> logits(2 * kChunk * vocab);
  std::vector<int32_t> table(static_cast<size_t>(2 * pages));
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int32_t>(i);
  AdapterComparison comparison;
  for (int page = 0; page < pages; ++page) {
    const int begin = page * kChunk, rows = std::min(kChunk, count - begin);
    std::vector<int32_t> ids, positions, outputs;
    std::vector<int64_t> slots;
    for (int row = 0; row < 2 * rows; ++row) {
      const int position = begin + row % rows, own_page = row / rows * pages + page;
      ids.push_back(tokens[static_cast<size_t>(position)]);
      positions.push_back(position);
      slots.push_back(int64_t{own_page} * kPagePositions + row % rows);
      outputs.push_back(row);
    }
    const std::array<AttentionSequence, 2> sequences = {
        {{0, rows, table.data(), begin + rows}, {rows, 2 * rows, table.data() + pages, begin + rows}}};
    std::vector<LoraSegment> segments;
    if (one != nullptr) segments.push_back({one, 0, rows, 1});
    if (other != nullptr) segments.push_back({other, rows, 2 * rows, 1});
    transformer.forward(team, {ids, positions, slots, sequences, segments, outputs}, logits);
    for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
      const std::span<const float> all = logits;
      compare(all.subspan(row * vocab, vocab), all.subspan((row + static_cast<size_t>(rows)) * vocab, vocab),
              comparison);
    }
  }
  comparison.divergence /= count;
  return comparison;
}

}  // namespace chorus
