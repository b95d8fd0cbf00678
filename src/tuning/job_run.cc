#include "tuning/job_run.h"

#include <chrono>
#include <filesystem>

#include "base/error.h"
#include "base/thread_team.h"
#include "train/adapter_writer.h"
#include "train/tune_model.h"
#include "tuning/tune_data.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kTellEvery{1};

// What the doctor has to say. Error: what stops it.
void examine_data(const TuneData& data, const JobHooks& hooks) {
  hooks.examined(data.report);
  std::string stops;
  for (const Finding& finding : data.report.findings) {
    if (finding.verdict == Verdict::kFine) continue;
    std::string text = fmt::format("{}: {}", finding.name, finding.text);
    for (const std::string& place : finding.places) text += "; " + place;
    if (finding.verdict == Verdict::kStop) stops += (stops.empty() ? "" : "; ") + text;
    hooks.note("warn", text);
  }
  if (!stops.empty()) fail("the data cannot be learned from: {}", stops);
  hooks.note("info", fmt::format("{} examples, {} held out, {} tokens, {} of them learned", data.train.size(),
                                 data.validation.size(), data.report.train.tokens, data.report.train.labels));
}

TuneTask read_task(const Runtime& runtime, const JobRun& job, const JobHooks& hooks, int64_t& tokens) {
  TuneDataOptions options = data_options(job.settings);
  if (!job.validation.empty()) options.validation = {job.validation};
  const ChatTemplate* chat_template = runtime.has_chat_template() ? &runtime.chat_template() : nullptr;
  TuneData data = read_tune_data(job.training, runtime.tokenizer(), chat_template, options);
  examine_data(data, hooks);
  TuneTask task = task_of(job.settings, static_cast<int>(runtime.model().config.layers.size()));
  task.name = job.name;
  task.train = std::move(data.train);
  task.validation = std::move(data.validation);
  tokens = data.report.train.tokens;
  return task;
}

// Tells how the one adapter of a trainer gets on.
class Reporter {
 public:
  Reporter(const Trainer& trainer, int64_t tokens_an_epoch, const JobHooks& hooks)
      : trainer_(trainer), tokens_(static_cast<double>(tokens_an_epoch)), hooks_(hooks) {}

  void stepped(double rate, double seconds_left) {
    const TuneState& state = trainer_.state(0);
    if (Clock::now() - told_ < kTellEvery && !state.done()) return;
    told_ = Clock::now();
    const double epochs = static_cast<double>(state.step) / static_cast<double>(trainer_.steps_per_epoch(0));
    hooks_.stepped({.step = state.step,
                    .steps = state.steps,
                    .trained_tokens = static_cast<int64_t>(tokens_ * epochs),
                    .train_loss = state.train_loss,
                    .learning_rate = state.learning_rate,
                    .tokens_per_second = rate,
                    .seconds_left = seconds_left});
  }

 private:
  const Trainer& trainer_;
  const double tokens_;
  const JobHooks& hooks_;
  Clock::time_point told_{};
};

}  // namespace

TuneEnd run_job(const Runtime& runtime, const JobRun& job, TrainingGate& gate, const JobHooks& hooks) {
  int64_t tokens = 0;
  std::vector<TuneTask> tasks;
  tasks.push_back(read_task(runtime, job, hooks, tokens));
  ThreadTeam team(job.threads, job.cpus);
  TrainerLimits limits;
  limits.activation_bytes = job.activation_bytes;
  TunerOptions options;
  options.output = job.output;
  options.resume = true;
  options.identity = {runtime.model().id, runtime.kernels_name(), settings_hash(tasks, limits)};
  options.base_name = job.base_name;
  options.template_hash = runtime.chat_template_hash();
  gate.pass();
  Trainer trainer = make_trainer(runtime.model(), team, std::move(tasks), limits);
  trainer.set_gate([&gate] { gate.pass(); });
  hooks.began();
  Reporter reporter(trainer, tokens, hooks);
  const auto evaluated = [&](size_t index) {
    const TuneState& state = trainer.state(index);
    const std::string folder = fmt::format("{}/{}@{}", job.steps, job.name, state.step);
    try {
      std::error_code ignored;  // the write will say it
      fs::create_directories(folder, ignored);
      save_adapter(folder, trainer.parameters(index), trainer.config(),
                   {options.base_name, options.identity.base, options.template_hash},
                   trainer.task(index).dropout, {});
      hooks.evaluated(state.step, state.train_loss, state.validation_loss);
    } catch (const Error& error) {
      hooks.note("warn", fmt::format("the adapter of step {} is not there: {}", state.step, error.what()));
    }
  };
  return tune(trainer, options,
              {.begun = {},
               .stepped = [&](double rate, double left) { reporter.stepped(rate, left); },
               .evaluated = evaluated,
               .note = [&](const std::string& text) { hooks.note("info", text); },
               .interrupted = {}});
}

}  // namespace chorus
