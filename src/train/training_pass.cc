#include "train/training_pass.h"

#include <algorithm>
#include <cassert>

#include "train/training_pass_impl.h"

namespace chorus {
namespace {

StepLimits step_limits(const PassLimits& limits) {
  return {.rows = limits.rows,
          .logit_rows = limits.label_rows,
          .context_length = limits.sequence_rows,
          .lora_floats_per_row = limits.rank,
          .segments = limits.sequences};
}

int pages_of(const PassLimits& limits) { return limits.rows / kPagePositions + limits.sequences; }

}  // namespace

TrainingPass::Impl::Impl(const Model& m, const Kernels& kn, const TrainingKernels& tr, const PassLimits& l,
                         int threads, bool exact)
    : model(m),
      config(m.config),
      k(kn),
      t(tr),
      limits(l),
      pages(m.config, kn.exact_kv, pages_of(l)),
      transformer(m, kn, pages, step_limits(l), exact) {
  Arena counting;
  lay_out(counting, config, limits, threads);
  block = Buffer<float>(counting.floats());
  Arena giving(block.data());
  memory = lay_out(giving, config, limits, threads);
}

void TrainingPass::Impl::start(ThreadTeam& team, const TrainingBatch& of, std::span<Trainee> adapters,
                               bool with_dropout) {
  assert(of.rows() <= limits.rows && static_cast<int>(of.sequences.size()) <= limits.sequences);
  batch = &of;
  trainees = adapters;
  dropping =
      with_dropout && std::ranges::any_of(trainees, [](const Trainee& one) { return one.dropout > 0; });
  segments.clear();
  for (const TrainingSegment& segment : of.segments) {
    const Trainee& trainee = trainees[static_cast<size_t>(segment.trainee)];
    segments.push_back({&trainee.packed->adapter(), segment.row_begin, segment.row_end, 1});
  }
  sequences.clear();
  for (const AttentionSequence& one : of.sequences) sequences.push_back({one.row_begin, one.row_end});
  label_rows.clear();
  labels.clear();
  weights.clear();
  label_keys.clear();
  for (const LabelRow& label : of.labels) {
    label_rows.push_back(label.row);
    labels.push_back(label.label);
    weights.push_back(label.weight);
    label_keys.push_back(of.row_keys[static_cast<size_t>(label.row)]);
  }
  cut_labels();
  step = {of.tokens, of.positions, of.slots, of.sequences, segments, {}};
  LoraInput lora_input;
  if (dropping) {
    lora_input = [this](Stream& s, InputGroup group, int layer, const float* x, int cols) {
      return drop(s, all_rows(), group, layer, x, cols);
    };
  }
  transformer.begin(team, step, std::move(lora_input));
}

// Runs piece(stream, 0), ... on all members: in one run of the team, or, where somebody is to be asked in
// between, in one for each. A piece ends with a sync.
template <typename F>
void TrainingPass::Impl::run_pieces(ThreadTeam& team, int count, const F& piece) {
  const auto run = [&](int begin, int end) {
    team.run([&](TeamMember& member) {
      Stream s{&member, nullptr};
      for (int i = begin; i < end; ++i) piece(s, i);
    });
  };
  if (!between) return run(0, count);
  for (int i = 0; i < count; ++i) {
    between();
    run(i, i + 1);
  }
}

void TrainingPass::Impl::forward(Stream& s, int index, bool keep) {
  if (index == 0) transformer.embed(s);
  const bool kept = keep && index >= lowest_layer();
  transformer.layer(s, index, kept ? memory.tapes[static_cast<size_t>(index)] : LayerTape{});
}

int TrainingPass::Impl::lowest_layer() const {
  int lowest = static_cast<int>(config.layers.size());
  for (const TrainingSegment& segment : batch->segments) {
    lowest = std::min(lowest, trainees[static_cast<size_t>(segment.trainee)].parameters->lowest_layer());
  }
  return lowest;
}

// This member's share of rows of zeros.
void TrainingPass::Impl::clear(const Stream& s, float* values, int rows, int cols) const {
  const auto [begin, end] = s.member->share(rows);
  std::fill(values + begin * cols, values + end * cols, 0.0f);
}

TrainingPass::TrainingPass(const Model& model, const Kernels& kernels, const TrainingKernels& training,
                           const PassLimits& limits, int threads, bool exact)
    : impl_(std::make_unique<Impl>(model, kernels, training, limits, threads, exact)) {}
TrainingPass::~TrainingPass() = default;

void TrainingPass::set_between(std::function<void()> between) { impl_->between = std::move(between); }

void TrainingPass::run(ThreadTeam& team, const TrainingBatch& batch, std::span<Trainee> trainees,
                       std::span<double> nll) {
  assert(nll.size() >= batch.labels.size());
  Impl& impl = *impl_;
  impl.start(team, batch, trainees, true);
  const int layers = static_cast<int>(impl.config.layers.size()), lowest = impl.lowest_layer();
  const int heads = static_cast<int>(impl.chunks.size()), back = layers + heads;
  impl.run_pieces(team, back + layers - lowest, [&](Stream& s, int i) {
    if (i < layers) return impl.forward(s, i, true);
    if (i < back) return impl.head(s, impl.chunks[static_cast<size_t>(i - layers)], nll, true);
    const int layer = layers - 1 - (i - back);
    impl.layer_backward(s, layer, impl.memory.tapes[static_cast<size_t>(layer)], layer == lowest);
  });
}

void TrainingPass::evaluate(ThreadTeam& team, const TrainingBatch& batch, std::span<Trainee> trainees,
                            std::span<double> nll) {
  assert(nll.size() >= batch.labels.size());
  Impl& impl = *impl_;
  impl.start(team, batch, trainees, false);
  const int layers = static_cast<int>(impl.config.layers.size());
  impl.run_pieces(team, layers + static_cast<int>(impl.chunks.size()), [&](Stream& s, int i) {
    if (i < layers) return impl.forward(s, i, false);
    impl.head(s, impl.chunks[static_cast<size_t>(i - layers)], nll, false);
  });
}

size_t TrainingPass::bytes(const ModelConfig& config, const PassLimits& limits, int threads) {
  Arena counting;
  lay_out(counting, config, limits, threads);
  const size_t rows = static_cast<size_t>(limits.rows);
  const auto width =
      static_cast<size_t>(3 * config.hidden + 3 * config.q_width() + 2 * config.kv_width() + 3 * config.ffn);
  // Pages are touched as they are used: more than these only by examples of a few tokens.
  const size_t pages = rows / kPagePositions * 5 / 4 + 1;
  return counting.floats() * sizeof(float) + rows * width * sizeof(float) +
         KvPages::page_bytes(config, KvType::kF16) * pages;
}

}  // namespace chorus
