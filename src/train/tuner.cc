#include "train/tuner.h"

#include <chrono>
#include <cmath>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/error.h"
#include "model/adapter_export.h"

namespace chorus {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

int64_t newest_step(const Trainer& trainer) {
  int64_t step = 0;
  for (size_t i = 0; i < trainer.size(); ++i) step = std::max(step, trainer.state(i).step);
  return step;
}

// Steps still to be run: adapters step together.
int64_t steps_left(const Trainer& trainer) {
  int64_t left = 0;
  for (size_t i = 0; i < trainer.size(); ++i) {
    const TuneState& state = trainer.state(i);
    if (!state.done()) left = std::max(left, state.steps - state.step);
  }
  return left;
}

// One run of tune().
class Tuning {
 public:
  Tuning(Trainer& trainer, const TunerOptions& options, const TunerEvents& events)
      : trainer_(trainer),
        options_(options),
        events_(events),
        checkpoints_(options.output + "/checkpoints"),
        metrics_(options.output + "/metrics.jsonl") {}

  TuneEnd run();
  TuneEnd run_until_stopped();

 private:
  void begin();
  void step();
  void evaluated(size_t index);
  void save();
  void finish();
  void note(const std::string& text) const {
    if (events_.note) events_.note(text);
  }

  Trainer& trainer_;
  const TunerOptions& options_;
  const TunerEvents& events_;
  const std::string checkpoints_;
  MetricsLog metrics_;
  Clock::time_point began_ = Clock::now(), saved_ = began_;
  int64_t steps_ = 0, tokens_ = 0;  // since it began
  bool evaluated_ = false;          // in this step
};

void Tuning::begin() {
  for (size_t i = 0; options_.form.gguf && i < trainer_.size(); ++i) {
    AdapterFile file = trainer_.parameters(i).file();
    file.path = printable(trainer_.task(i).name);
    require_gguf_names(file, trainer_.config());
  }
  std::error_code error;
  std::filesystem::create_directories(options_.output, error);
  if (error) fail("{}: cannot be made: {}", printable(options_.output, 300), error.message());
  if (!options_.resume) {
    if (has_checkpoint(checkpoints_)) {
      fail("{}: holds a run already: --resume goes on with it; or give another directory",
           printable(options_.output, 300));
    }
    return;
  }
  for (const char* file : {"/metrics.jsonl", "/loss.svg"}) remove_unfinished(options_.output + file);
  for (size_t i = 0; i < trainer_.size(); ++i) {
    for (const std::string_view file : {kPeftConfig, kPeftTensors, kGgufResult}) {
      remove_unfinished(fmt::format("{}/{}", adapter_directory(trainer_, options_.output, i), file));
    }
  }
  if (const auto step = load_checkpoint(trainer_, checkpoints_, options_.identity)) {
    metrics_.read(*step);
    note(fmt::format("goes on from step {}", *step));
  } else {
    note("there is no checkpoint: it begins at the start");
  }
}

void Tuning::evaluated(size_t index) {
  const TuneState& state = trainer_.state(index);
  metrics_.add({trainer_.task(index).name, state.step, true, state.validation_loss});
  evaluated_ = true;
  if (events_.evaluated) events_.evaluated(index);
}

void Tuning::step() {
  std::vector<size_t> active;
  for (size_t i = 0; i < trainer_.size(); ++i) {
    if (!trainer_.state(i).done()) active.push_back(i);
  }
  evaluated_ = false;
  std::vector<size_t> looked_at;
  tokens_ += trainer_.step([&](size_t index) { looked_at.push_back(index); });
  ++steps_;
  for (const size_t i : active) {
    const TuneState& state = trainer_.state(i);
    const std::string& name = trainer_.task(i).name;
    if (!std::isfinite(state.train_loss) || !std::isfinite(state.gradient_norm)) {
      fail("{}: the loss is no number any more at step {}: a lower --lr would be right", printable(name),
           state.step);
    }
    metrics_.add({name, state.step, false, state.train_loss, state.learning_rate, state.gradient_norm});
  }
  for (const size_t i : looked_at) evaluated(i);
  const double seconds = seconds_since(began_), rate = static_cast<double>(tokens_) / seconds;
  if (events_.stepped) {
    events_.stepped(rate, seconds / static_cast<double>(steps_) * static_cast<double>(steps_left(trainer_)));
  }
}

// What there was before stays if this fails.
void Tuning::save() {
  try {
    metrics_.write();
    save_checkpoint(trainer_, checkpoints_, options_.identity);
  } catch (const Error& error) {
    note(fmt::format("no checkpoint at step {}: {}", newest_step(trainer_), error.what()));
  }
  saved_ = Clock::now();
}

void Tuning::finish() {
  save();
  trainer_.use_best();
  for (size_t i = 0; i < trainer_.size(); ++i) {
    save_adapter(adapter_directory(trainer_, options_.output, i), trainer_.parameters(i), trainer_.config(),
                 {options_.base_name, options_.identity.base, options_.template_hash},
                 trainer_.task(i).dropout, options_.form);
  }
  metrics_.write();
  AtomicFile plot(options_.output + "/loss.svg");
  plot.write(loss_plot(metrics_.metrics()));
  plot.commit();
}

TuneEnd Tuning::run() {
  begin();
  if (events_.begun) events_.begun();
  began_ = saved_ = Clock::now();
  while (!trainer_.done()) {
    step();
    if (events_.interrupted && events_.interrupted() && !trainer_.done()) {
      save();
      return TuneEnd::kInterrupted;
    }
    const bool due = options_.checkpoint_steps > 0 && newest_step(trainer_) % options_.checkpoint_steps == 0;
    if (due || evaluated_ || seconds_since(saved_) > options_.checkpoint_seconds) save();
  }
  finish();
  return TuneEnd::kDone;
}

TuneEnd Tuning::run_until_stopped() {
  try {
    return run();
  } catch (const TrainingStopped&) {
    if (trainer_.whole()) save();
    return TuneEnd::kInterrupted;
  }
}

}  // namespace

TuneEnd tune(Trainer& trainer, const TunerOptions& options, const TunerEvents& events) {
  return Tuning(trainer, options, events).run_until_stopped();
}

TuneVerdict judge(Trainer& trainer) {
  TuneVerdict verdict;
  verdict.losses.resize(trainer.size() + 1);
  for (size_t set = 0; set < trainer.size(); ++set) {
    const std::vector<TokenizedExample>& examples = trainer.task(set).validation;
    if (examples.empty()) continue;
    verdict.names.push_back(trainer.task(set).name);
    verdict.losses[0].push_back(trainer.loss(std::nullopt, examples));
    for (size_t i = 0; i < trainer.size(); ++i) verdict.losses[i + 1].push_back(trainer.loss(i, examples));
  }
  return verdict;
}

std::string adapter_directory(const Trainer& trainer, const std::string& output, size_t index) {
  return trainer.size() == 1 ? output : fmt::format("{}/{}", output, trainer.task(index).name);
}

}  // namespace chorus
