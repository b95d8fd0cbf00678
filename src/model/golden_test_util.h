#pragma once

// What the tests of model/ share: the files of tests/golden, and token sequences run through a Transformer.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include "formats/quant_blocks.h"
#include "formats/safetensors.h"
#include "model/transformer.h"

namespace chorus {

inline std::string golden_path(const std::string& relative) {
  return std::string(CHORUS_SOURCE_DIR) + "/tests/golden/" + relative;
}

// The values of a tensor of any type.
inline std::vector<float> values_of(const FileTensor& tensor) {
  uint64_t count = 1;
  for (const uint64_t extent : tensor.shape) count *= extent;
  std::vector<float> values(count);
  dequantize(tensor.type, tensor.data, values);
  return values;
}

// What transformers or PEFT computed.
struct Golden {
  std::vector<int32_t> tokens;
  std::vector<float> logits;  // [tokens, vocab]
};

// `name` as in "models/llama_tied".
inline Golden read_golden(const std::string& name) {
  const SafetensorsFile file = SafetensorsFile::open(golden_path(name + ".golden.safetensors"));
  Golden golden;
  for (const float token : values_of(*file.find("tokens"))) {
    golden.tokens.push_back(static_cast<int32_t>(token));
  }
  golden.logits = values_of(*file.find("logits"));
  return golden;
}

// The largest difference, as a share of the largest golden logit (or of 1, where that is larger). NaN in
// either is infinity.
inline double relative_error(const std::vector<float>& logits, const std::vector<float>& golden) {
  if (logits.size() != golden.size()) return INFINITY;
  double worst = 0, scale = 1;
  for (size_t i = 0; i < golden.size(); ++i) {
    const double difference = std::abs(double{logits[i]} - double{golden[i]});
    if (!std::isfinite(difference)) return INFINITY;
    worst = std::max(worst, difference);
    scale = std::max(scale, std::abs(double{golden[i]}));
  }
  return worst / scale;
}

inline std::vector<double> log_softmax(const float* logits, size_t count) {
  const double max = *std::max_element(logits, logits + count);
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += std::exp(logits[i] - max);
  std::vector<double> out(count);
  for (size_t i = 0; i < count; ++i) out[i] = logits[i] - max - std::log(sum);
  return out;
}

// KL(golden || ours), averaged over the rows.
inline double mean_kl(const std::vector<float>& logits, const std::vector<float>& golden, size_t vocab) {
  double total = 0;
  for (size_t row = 0; row < golden.size(); row += vocab) {
    const std::vector<double> p = log_softmax(&golden[row], vocab), q = log_softmax(&logits[row], vocab);
    for (size_t i = 0; i < vocab; ++i) total += std::exp(p[i]) * (p[i] - q[i]);
  }
  return total / static_cast<double>(golden.size() / vocab);
}

struct WeightedAdapter {
  const Adapter* adapter = nullptr;
  float weight = 1;
};

// A sequence to run, under no adapter, one, or a mix.
struct TestSequence {
  std::vector<int32_t> tokens;
  std::vector<WeightedAdapter> adapters;
};

struct RunOptions {
  int chunk = 1 << 20;  // rows of each sequence in a step
  int threads = 2;
  KvType kv = KvType::kF32;
};

// Runs sequences side by side and gathers the logits of every row. Their pages are scattered over a store
// that starts as NaN, so that reading what was never written shows.
class SequenceRunner {
 public:
  using Logits = std::vector<std::vector<float>>;  // of each sequence, [tokens, vocab]

  SequenceRunner(const Model& model, const Kernels& kernels, std::vector<TestSequence> sequences,
                 const RunOptions& options)
      : model_(model),
        options_(options),
        team_(options.threads),
        sequences_(std::move(sequences)),
        done_(sequences_.size()),
        logits_(sequences_.size()),
        kv_(model.config, options.kv, page_count()),
        transformer_(model, kernels, kv_, limits()) {
    const size_t bytes = KvPages::page_bytes(model.config, options.kv) * static_cast<size_t>(kv_.pages());
    std::fill_n(kv_.layer(0).data, bytes, std::byte{0xff});
    assign_pages();
  }

  Logits run() {
    while (step()) {
    }
    return std::move(logits_);
  }

 private:
  struct Step {
    std::vector<int32_t> tokens, positions, logit_rows;
    std::vector<int64_t> slots;
    std::vector<AttentionSequence> sequences;
    std::vector<LoraSegment> segments;
    std::vector<size_t> owners;  // of `sequences`
  };

  static int pages_of(const TestSequence& sequence) {
    return (static_cast<int>(sequence.tokens.size()) + kPagePositions - 1) / kPagePositions;
  }
  int page_count() const {
    int pages = 1;
    for (const TestSequence& sequence : sequences_) pages += pages_of(sequence);
    return pages;
  }
  int total_rows() const {
    size_t rows = 0;
    for (const TestSequence& sequence : sequences_) rows += sequence.tokens.size();
    return static_cast<int>(rows);
  }
  StepLimits limits() const {
    StepLimits limits;
    limits.rows = limits.logit_rows = total_rows();
    limits.context_length = total_rows();
    return limits;
  }

  // Pages go round the sequences from the last page down, so that no table ascends or is dense.
  void assign_pages() {
    tables_.resize(sequences_.size());
    int next = kv_.pages() - 1;
    for (size_t page = 0; next > 0; ++page) {
      for (size_t s = 0; s < sequences_.size(); ++s) {
        if (page < static_cast<size_t>(pages_of(sequences_[s]))) tables_[s].push_back(next--);
      }
    }
  }

  void add_rows(size_t s, Step& step) {
    const TestSequence& sequence = sequences_[s];
    const int begin = done_[s], length = static_cast<int>(sequence.tokens.size());
    const int end = std::min(length, begin + std::min(options_.chunk, length));
    if (begin == end) return;
    const int row_begin = static_cast<int>(step.tokens.size()), row_end = row_begin + end - begin;
    for (int position = begin; position < end; ++position) {
      step.tokens.push_back(sequence.tokens[static_cast<size_t>(position)]);
      step.positions.push_back(position);
      const int page = tables_[s][static_cast<size_t>(position / kPagePositions)];
      step.slots.push_back(int64_t{page} * kPagePositions + position % kPagePositions);
      step.logit_rows.push_back(static_cast<int32_t>(step.logit_rows.size()));
    }
    step.sequences.push_back({row_begin, row_end, tables_[s].data(), end});
    step.owners.push_back(s);
    for (const WeightedAdapter& use : sequence.adapters) {
      step.segments.push_back({use.adapter, row_begin, row_end, use.weight});
    }
    done_[s] = end;
  }

  bool step() {
    Step step;
    for (size_t s = 0; s < sequences_.size(); ++s) add_rows(s, step);
    if (step.tokens.empty()) return false;
    const auto vocab = static_cast<size_t>(model_.config.vocab);
    std::vector<float> logits(step.tokens.size() * vocab, NAN);
    const Batch batch{step.tokens,    step.positions, step.slots,
                      step.sequences, step.segments,  step.logit_rows};
    transformer_.forward(team_, batch, logits);
    for (size_t i = 0; i < step.sequences.size(); ++i) {
      const AttentionSequence& rows = step.sequences[i];
      std::vector<float>& out = logits_[step.owners[i]];
      out.insert(out.end(), logits.begin() + rows.row_begin * model_.config.vocab,
                 logits.begin() + rows.row_end * model_.config.vocab);
    }
    return true;
  }

  const Model& model_;
  const RunOptions options_;
  ThreadTeam team_;
  std::vector<TestSequence> sequences_;
  std::vector<int> done_;  // tokens of each sequence that have been run
  Logits logits_;
  KvPages kv_;
  Transformer transformer_;
  std::vector<std::vector<int32_t>> tables_;
};

inline SequenceRunner::Logits run_sequences(const Model& model, const Kernels& kernels,
                                            std::vector<TestSequence> sequences,
                                            const RunOptions& options = {}) {
  return SequenceRunner(model, kernels, std::move(sequences), options).run();
}

inline std::vector<float> run_sequence(const Model& model, const Kernels& kernels, TestSequence sequence,
                                       const RunOptions& options = {}) {
  return run_sequences(model, kernels, {std::move(sequence)}, options).front();
}

inline Model load_golden_model(const std::string& file) {
  ThreadTeam team(2);
  return load_model(golden_path("models/" + file), team);
}

}  // namespace chorus
