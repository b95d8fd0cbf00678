#include "tuning/tune_forecast.h"

#include <algorithm>

#include "base/process_memory.h"

namespace chorus {
namespace {

// Of what a pass forward and back takes, without adapters' gradients.
constexpr double kForwardShare = 0.35;

double tokens_of(const std::vector<TokenizedExample>& examples) {
  double tokens = 0;
  for (const TokenizedExample& example : examples) tokens += static_cast<double>(example.tokens.size()) - 1;
  return tokens;
}

}  // namespace

std::vector<Forecast> forecast(Trainer& trainer) {
  const Trainer::Pace pace = trainer.probe();
  const double rate = static_cast<double>(pace.tokens) / pace.seconds;
  std::vector<Forecast> forecasts;
  for (size_t i = 0; i < trainer.size(); ++i) {
    const TuneTask& task = trainer.task(i);
    const auto steps = static_cast<double>(trainer.state(i).steps);
    const auto an_epoch = static_cast<double>(trainer.steps_per_epoch(i));
    const double evaluations =
        steps / (task.eval_every > 0 ? static_cast<double>(task.eval_every) : an_epoch);
    Forecast of;
    of.epochs = steps / an_epoch;
    of.tokens_per_second = rate;
    of.seconds =
        (tokens_of(task.train) * of.epochs + tokens_of(task.validation) * evaluations * kForwardShare) / rate;
    of.memory_bytes = peak_resident_bytes();
    forecasts.push_back(of);
  }
  return forecasts;
}

Forecast together(const std::vector<Forecast>& forecasts) {
  Forecast all;
  for (const Forecast& one : forecasts) {
    all.seconds += one.seconds;
    all.epochs = std::max(all.epochs, one.epochs);
    all.tokens_per_second = one.tokens_per_second;
    all.memory_bytes = one.memory_bytes;
  }
  return all;
}

}  // namespace chorus
