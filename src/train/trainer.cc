#include "train/trainer.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cmath>
#include <deque>
#include <numeric>

#include "base/error.h"

namespace chorus {
namespace {

// Streams of random numbers of a task's seed.
enum Stream : uint64_t { kInit = 1, kOrder, kExamples, kDropout };

int64_t epoch_steps(const TuneTask& task) {
  return (static_cast<int64_t>(task.train.size()) + task.batch - 1) / task.batch;
}

int64_t steps_of(const TuneTask& task) {
  const auto steps = static_cast<int64_t>(std::ceil(task.epochs * static_cast<double>(epoch_steps(task))));
  return std::max<int64_t>(1, task.max_steps > 0 ? std::min(steps, task.max_steps) : steps);
}

void check_examples(const std::vector<TokenizedExample>& examples, const std::string& name) {
  for (const TokenizedExample& example : examples) {
    if (example.tokens.size() < 2 || example.labels == 0)
      fail("{}: line {} of file {} has nothing to learn", printable(name), example.line, example.file + 1);
  }
}

int longest_rows(const std::vector<TuneTask>& tasks) {
  size_t longest = 2;
  for (const TuneTask& task : tasks) {
    for (const auto* examples : {&task.train, &task.validation}) {
      for (const TokenizedExample& example : *examples) longest = std::max(longest, example.tokens.size());
    }
  }
  return static_cast<int>(longest) - 1;
}

// One adapter on its way.
struct Run {
  Run(const Model& model, const Kernels& kernels, ThreadTeam& team, TuneTask t)
      : task(std::move(t)),
        parameters(model.config, task.shape, stream_key(task.seed, kInit)),
        packed(parameters, model, kernels, team),
        optimizer(parameters.values().size(), task.eight_bit),
        gradient(parameters.values().size()),
        best(parameters.values().begin(), parameters.values().end()) {
    state.steps = steps_of(task);
    const auto warmup = static_cast<int64_t>(std::ceil(task.warmup * static_cast<double>(state.steps)));
    schedule = {task.schedule, std::min(warmup, state.steps - 1), state.steps};
  }

  TuneTask task;
  LoraParameters parameters;
  PackedLora packed;
  AdamW optimizer;
  Schedule schedule;
  std::vector<float> gradient, best;
  TuneState state;
  int64_t ordered_epoch = -1;
  std::vector<uint32_t> order;  // of that epoch
};

// A piece of a step's work: an example of a run, or of the base alone.
constexpr int kBase = -1;
struct Piece {
  int run;
  const TokenizedExample* example;
  float weight;
  uint64_t key;
};

}  // namespace

std::vector<uint32_t> epoch_order(uint64_t seed, int64_t epoch, size_t count) {
  std::vector<uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0u);
  const uint64_t key = stream_key(stream_key(seed, kOrder), static_cast<uint64_t>(epoch));
  for (size_t i = count; i > 1; --i) {
    std::swap(order[i - 1], order[static_cast<size_t>(uniform_at(key, i) * static_cast<double>(i))]);
  }
  return order;
}

struct Trainer::Impl {
  Impl(const Model& m, const Kernels& kernels, ThreadTeam& t, std::vector<TuneTask> tasks,
       const TrainerLimits& l);

  PassLimits pass_limits(const std::vector<TuneTask>& tasks, const TrainerLimits& limits) const;
  void add_step(size_t index, std::vector<Piece>& pieces);
  Trainee trainee(Run& run);
  std::vector<double> run_pieces(const std::vector<Piece>& pieces, bool backward);
  void finish_step(size_t index, double weighted_loss, const std::function<void(size_t)>& evaluated);
  void evaluate(size_t index);
  double loss(int index, const std::vector<TokenizedExample>& examples);

  const Model& model;
  ThreadTeam& team;
  PassLimits limits;
  TrainingPass pass;
  std::deque<Run> runs;  // they stay where they are
  bool whole = true;     // see Trainer::whole
};

PassLimits Trainer::Impl::pass_limits(const std::vector<TuneTask>& tasks, const TrainerLimits& wanted) const {
  PassLimits out;
  out.sequence_rows = longest_rows(tasks);
  out.rows = std::max(wanted.rows, out.sequence_rows);
  out.sequences = out.rows;
  for (const TuneTask& task : tasks) {
    check_examples(task.train, task.name);
    check_examples(task.validation, task.name);
    out.rank = std::max(out.rank, kMaxGroup * task.shape.rank);
    out.dropout |= task.dropout > 0;
    out.dora |= task.shape.dora;
  }
  out.kept_layers = static_cast<int>(model.config.layers.size());
  while (out.kept_layers > 0 &&
         TrainingPass::bytes(model.config, out, team.size()) > wanted.activation_bytes) {
    --out.kept_layers;
  }
  return out;
}

const Kernels& forward_kernels(const Kernels& kernels, bool exact) {
  const Kernels* own = find_training_kernels(kernels.name)->forward;
  return own == nullptr || exact ? kernels : *own;
}

Trainer::Impl::Impl(const Model& m, const Kernels& kernels, ThreadTeam& t, std::vector<TuneTask> tasks,
                    const TrainerLimits& l)
    : model(m),
      team(t),
      limits(pass_limits(tasks, l)),
      pass(m, forward_kernels(kernels, l.exact), *find_training_kernels(kernels.name), limits, t.size(),
           l.exact) {
  for (TuneTask& task : tasks) {
    if (task.train.empty()) fail("{}: there is no example to learn from", printable(task.name));
    if (task.shape.dora && adapts(task.shape, 0, Target::kHead))
      fail("{}: lm_head cannot be tuned with DoRA: leave out one of the two", printable(task.name));
    runs.emplace_back(m, forward_kernels(kernels, l.exact), team, std::move(task));
    runs.back().packed.update(team);
  }
}

Trainee Trainer::Impl::trainee(Run& run) {
  const uint64_t key = stream_key(stream_key(run.task.seed, kDropout), static_cast<uint64_t>(run.state.step));
  return {&run.parameters, &run.packed, run.gradient, run.task.dropout, key};
}

// The examples of a run's next step. Each label counts one part of all the step's.
void Trainer::Impl::add_step(size_t index, std::vector<Piece>& pieces) {
  Run& run = runs[index];
  const auto count = static_cast<int64_t>(run.task.train.size());
  const int64_t an_epoch = epoch_steps(run.task), epoch = run.state.step / an_epoch;
  if (run.ordered_epoch != epoch) {
    run.order = epoch_order(run.task.seed, epoch, run.task.train.size());
    run.ordered_epoch = epoch;
  }
  const int64_t begin = run.state.step % an_epoch * run.task.batch;
  const int64_t end = std::min<int64_t>(begin + run.task.batch, count);
  const size_t first = pieces.size();
  int64_t labels = 0;
  for (int64_t i = begin; i < end; ++i) {
    const uint32_t example = run.order[static_cast<size_t>(i)];
    const uint64_t key = stream_key(stream_key(run.task.seed, kExamples), example);
    pieces.push_back({static_cast<int>(index), &run.task.train[example], 0, key});
    labels += pieces.back().example->labels;
  }
  for (size_t i = first; i < pieces.size(); ++i) pieces[i].weight = 1 / static_cast<float>(labels);
}

// The sum of the losses of each piece's labels. Pieces of one run lie together.
std::vector<double> Trainer::Impl::run_pieces(const std::vector<Piece>& pieces, bool backward) {
  std::vector<Trainee> trainees;
  for (Run& run : runs) trainees.push_back(trainee(run));
  std::vector<double> sums, nll;
  TrainingBatch batch;
  const auto finish = [&] {
    if (batch.rows() == 0) return;
    batch.finish();
    nll.assign(batch.labels.size(), 0);
    backward ? pass.run(team, batch, trainees, nll) : pass.evaluate(team, batch, trainees, nll);
    size_t label = 0;
    for (const AttentionSequence& sequence : batch.sequences) {
      double sum = 0;
      for (; label < nll.size() && batch.labels[label].row < sequence.row_end; ++label) sum += nll[label];
      sums.push_back(sum);
    }
    batch.clear();
  };
  for (const Piece& piece : pieces) {
    if (batch.rows() + static_cast<int>(piece.example->tokens.size()) - 1 > limits.rows) finish();
    batch.add(piece.run, piece.example->tokens, piece.example->label, piece.weight, piece.key);
  }
  finish();
  return sums;
}

void Trainer::Impl::finish_step(size_t index, double loss_sum, const std::function<void(size_t)>& evaluated) {
  Run& run = runs[index];
  TuneState& state = run.state;
  state.train_loss = loss_sum;
  const double factor = run.schedule.factor(state.step);
  state.learning_rate = run.task.adam.learning_rate * factor;
  state.gradient_norm = run.optimizer.step(team, run.task.adam, factor, run.parameters, run.gradient);
  run.packed.update(team);
  ++state.step;
  const int64_t every = run.task.eval_every > 0 ? run.task.eval_every : epoch_steps(run.task);
  if (run.task.validation.empty()) {
    run.best.assign(run.parameters.values().begin(), run.parameters.values().end());
    return;
  }
  if (state.step % every != 0 && state.step < state.steps) return;
  evaluate(index);
  if (evaluated) evaluated(index);
}

void Trainer::Impl::evaluate(size_t index) {
  Run& run = runs[index];
  TuneState& state = run.state;
  state.validation_loss = loss(static_cast<int>(index), run.task.validation);
  if (state.best_step == 0 || state.validation_loss < state.best_loss) {
    state.best_loss = state.validation_loss;
    state.best_step = state.step;
    state.worse = 0;
    run.best.assign(run.parameters.values().begin(), run.parameters.values().end());
  } else if (++state.worse >= run.task.patience && run.task.patience > 0) {
    state.stopped = true;
  }
}

double Trainer::Impl::loss(int index, const std::vector<TokenizedExample>& examples) {
  std::vector<Piece> pieces;
  int64_t labels = 0;
  for (const TokenizedExample& example : examples) {
    pieces.push_back({index, &example, 0, 0});
    labels += example.labels;
  }
  double sum = 0;
  for (const double piece : run_pieces(pieces, false)) sum += piece;
  return sum / static_cast<double>(labels);
}

Trainer::Trainer(const Model& model, const Kernels& kernels, ThreadTeam& team, std::vector<TuneTask> tasks,
                 const TrainerLimits& limits)
    : impl_(std::make_unique<Impl>(model, kernels, team, std::move(tasks), limits)) {}
Trainer::~Trainer() = default;
Trainer::Trainer(Trainer&&) noexcept = default;

void Trainer::set_gate(std::function<void()> gate) { impl_->pass.set_between(std::move(gate)); }
bool Trainer::whole() const { return impl_->whole; }

size_t Trainer::size() const { return impl_->runs.size(); }
const TuneTask& Trainer::task(size_t index) const { return impl_->runs[index].task; }
const TuneState& Trainer::state(size_t index) const { return impl_->runs[index].state; }
const LoraParameters& Trainer::parameters(size_t index) const { return impl_->runs[index].parameters; }
AdapterHandle Trainer::adapter(size_t index, std::string id) const {
  return impl_->runs[index].packed.copy(impl_->team, std::move(id));
}
const ModelConfig& Trainer::config() const { return impl_->model.config; }
int Trainer::kept_layers() const { return impl_->limits.kept_layers; }

bool Trainer::done() const {
  return std::ranges::all_of(impl_->runs, [](const Run& run) { return run.state.done(); });
}

int64_t Trainer::step(const std::function<void(size_t)>& evaluated) {
  std::vector<Piece> pieces;
  std::vector<size_t> active;
  for (size_t i = 0; i < impl_->runs.size(); ++i) {
    Run& run = impl_->runs[i];
    if (run.state.done()) continue;
    active.push_back(i);
    impl_->add_step(i, pieces);
    std::ranges::fill(run.gradient, 0.0f);
  }
  const std::vector<double> sums = impl_->run_pieces(pieces, true);
  int64_t tokens = 0;
  std::vector<double> losses(impl_->runs.size()), labels(impl_->runs.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    const auto run = static_cast<size_t>(pieces[i].run);
    tokens += static_cast<int64_t>(pieces[i].example->tokens.size()) - 1;
    losses[run] += sums[i];
    labels[run] += pieces[i].example->labels;
  }
  impl_->whole = false;
  for (const size_t i : active) impl_->finish_step(i, losses[i] / labels[i], evaluated);
  impl_->whole = true;
  return tokens;
}

Trainer::Pace Trainer::probe() {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < impl_->runs.size(); ++i) impl_->add_step(i, pieces);
  int64_t tokens = 0;
  size_t count = 0;
  for (; count < pieces.size(); ++count) {
    const auto rows = static_cast<int64_t>(pieces[count].example->tokens.size()) - 1;
    if (tokens + rows > impl_->limits.rows) break;
    tokens += rows;
  }
  pieces.resize(count);
  double best = 0;
  for (int i = 0; i < 2; ++i) {  // the first time memory is touched too
    const auto start = std::chrono::steady_clock::now();
    impl_->run_pieces(pieces, true);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = i == 0 ? seconds : std::min(best, seconds);
  }
  return {tokens, best};
}

int64_t Trainer::steps_per_epoch(size_t index) const { return epoch_steps(task(index)); }

double Trainer::loss(std::optional<size_t> index, const std::vector<TokenizedExample>& examples) {
  return impl_->loss(index ? static_cast<int>(*index) : kBase, examples);
}

Trainer::Saved Trainer::saved(size_t index) {
  Run& run = impl_->runs[index];
  return {run.state, run.optimizer.steps(), std::as_writable_bytes(run.parameters.values()),
          std::as_writable_bytes(std::span(run.best)), run.optimizer.state()};
}

void Trainer::restore(size_t index, const TuneState& state, int64_t optimizer_steps) {
  Run& run = impl_->runs[index];
  run.state = state;
  run.optimizer.set_steps(optimizer_steps);
  run.packed.update(impl_->team);
}

void Trainer::use_best() {
  for (Run& run : impl_->runs) {
    std::ranges::copy(run.best, run.parameters.values().begin());
    run.packed.update(impl_->team);
  }
}

size_t Trainer::bytes() const {
  size_t bytes = TrainingPass::bytes(impl_->model.config, impl_->limits, impl_->team.size());
  for (const Run& run : impl_->runs) {
    bytes += run.parameters.values().size_bytes() * 5 + run.optimizer.state().size();
  }
  return bytes;
}

}  // namespace chorus
