#include "cli/tune_report.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/error.h"

namespace chorus {
namespace {

std::string duration(double seconds) {
  const auto whole = static_cast<int64_t>(seconds);
  if (whole >= 3600) return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

}  // namespace

TuneProgress::TuneProgress(const Trainer& trainer)
    : trainer_(trainer), terminal_(isatty(STDERR_FILENO) != 0) {}

void TuneProgress::stepped(double rate, double left) {
  const int64_t step = trainer_.state(0).step;
  if (!terminal_ && step % 10 != 0 && !trainer_.done()) return;
  std::string losses;
  int64_t steps = 0, done = 0;
  for (size_t i = 0; i < trainer_.size(); ++i) {
    losses += fmt::format(" {:.3f}", trainer_.state(i).train_loss);
    steps = std::max(steps, trainer_.state(i).steps);
    done = std::max(done, trainer_.state(i).step);
  }
  const std::string line =
      fmt::format("step {}/{}  loss{}  {:.0f} tok/s  {} left", done, steps, losses, rate, duration(left));
  std::fprintf(stderr, terminal_ ? "\r%-78s" : "%s\n", line.c_str());
}

void TuneProgress::evaluated(size_t index) const {
  const TuneState& state = trainer_.state(index);
  const std::string line =
      fmt::format("{} at step {}: held-out loss {:.4f}{}", trainer_.task(index).name, state.step,
                  state.validation_loss, state.best_step == state.step ? ", the best so far" : "");
  note(line + (state.stopped ? "; stops early" : ""));
}

void TuneProgress::samples(const std::vector<TuneSample>& samples) const {
  for (const TuneSample& sample : samples) {
    note(fmt::format("  {}: {}", sample.adapter.empty() ? "the base" : sample.adapter,
                     printable(sample.text, 300)));
  }
}

void TuneProgress::note(const std::string& text) const {
  std::fprintf(stderr, terminal_ ? "\r%-78s\n" : "%s\n", text.c_str());
}

std::string verdict_text(const Trainer& trainer, const TuneVerdict& verdict) {
  if (verdict.names.empty()) return "";
  std::string text = fmt::format("{:20}", "held-out loss on");
  for (const std::string& name : verdict.names) text += fmt::format(" {:>14}", name);
  for (size_t row = 0; row < verdict.losses.size(); ++row) {
    text += fmt::format("\n{:20}", row == 0 ? "the base" : trainer.task(row - 1).name);
    for (const double loss : verdict.losses[row]) text += fmt::format(" {:>14.4f}", loss);
  }
  return text + "\n";
}

json::value verdict_json(const Trainer& trainer, const TuneVerdict& verdict, const std::string& output) {
  json::array adapters;
  for (size_t i = 0; i < trainer.size(); ++i) {
    const TuneState& state = trainer.state(i);
    adapters.push_back({{"name", trainer.task(i).name},
                        {"path", adapter_directory(trainer, output, i)},
                        {"steps", state.step},
                        {"best_step", state.best_step},
                        {"train_loss", state.train_loss}});
  }
  return {{"adapters", adapters},
          {"sets", json::value_from(verdict.names)},
          {"losses", json::value_from(verdict.losses)}};
}

}  // namespace chorus
