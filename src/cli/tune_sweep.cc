#include "cli/tune_sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "train/tuner.h"

namespace chorus {
namespace {

struct Setting {
  const char* key;
  double least, most;
  bool whole;
  void (*set)(TuneTask&, double);
};

constexpr Setting kSettings[] = {
    {"lr", 1e-9, 10, false, [](TuneTask& task, double value) { task.adam.learning_rate = value; }},
    {"rank", 1, 256, true, [](TuneTask& task, double value) { task.shape.rank = static_cast<int>(value); }},
    {"alpha", 1e-3, 1e5, false,
     [](TuneTask& task, double value) { task.shape.alpha = static_cast<float>(value); }},
};

const Setting* find_setting(std::string_view key) {
  const auto* found = std::ranges::find(kSettings, key, &Setting::key);
  return found == std::end(kSettings) ? nullptr : found;
}

double value_of(const Setting& setting, std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool number = error == std::errc() && end == text.data() + text.size();
  if (!number || !(value >= setting.least && value <= setting.most) ||
      (setting.whole && value != std::floor(value))) {
    fail("--sweep {}: \"{}\" must be a {} from {} to {}", setting.key, printable(text),
         setting.whole ? "whole number" : "number", setting.least, setting.most);
  }
  return value;
}

SweepAxis parse_axis(const std::string& text) {
  const size_t equals = text.find('=');
  const Setting* setting = find_setting(text.substr(0, equals));
  if (equals == std::string::npos || setting == nullptr)
    fail("--sweep \"{}\": must be lr=, rank= or alpha= and values with commas between", printable(text));
  SweepAxis axis{setting->key, {}};
  for (size_t begin = equals + 1; begin <= text.size();) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    axis.values.push_back(value_of(*setting, std::string_view(text).substr(begin, comma - begin)));
    begin = comma + 1;
  }
  std::vector<double> sorted = axis.values;
  std::ranges::sort(sorted);
  if (std::ranges::adjacent_find(sorted) != sorted.end())
    fail("--sweep {}: a value stands there twice", setting->key);
  return axis;
}

double held_out(const TuneState& state) { return state.best_step > 0 ? state.best_loss : state.train_loss; }

std::string row_text(const Trainer& trainer, size_t index, bool best) {
  const TuneTask& task = trainer.task(index);
  const TuneState& state = trainer.state(index);
  return fmt::format("{:32} {:>9g} {:>5} {:>6g} {:>10} {:>10} {:>9.4f}{}\n", task.name,
                     task.adam.learning_rate, task.shape.rank, task.shape.alpha, state.step, state.best_step,
                     held_out(state), best ? "  best" : "");
}

// The lowest loss first.
std::vector<size_t> ranked(const Trainer& trainer) {
  std::vector<size_t> order(trainer.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) { return held_out(trainer.state(i)); });
  return order;
}

}  // namespace

std::vector<SweepAxis> parse_sweep(const std::vector<std::string>& texts) {
  std::vector<SweepAxis> axes;
  size_t count = 1;
  for (const std::string& text : texts) {
    SweepAxis axis = parse_axis(text);
    if (std::ranges::find(axes, axis.key, &SweepAxis::key) != axes.end())
      fail("--sweep {} is given twice: once, with all its values", axis.key);
    if (axis.values.size() > kMaxSweep / count) fail("--sweep: more than {} adapters in all", kMaxSweep);
    count *= axis.values.size();
    axes.push_back(std::move(axis));
  }
  return axes;
}

std::vector<TuneTask> sweep_tasks(const TuneTask& task, const std::vector<SweepAxis>& axes) {
  std::vector<TuneTask> tasks = {task};
  for (const SweepAxis& axis : axes) {
    std::vector<TuneTask> next;
    for (const TuneTask& from : tasks) {
      for (const double value : axis.values) {
        next.push_back(from);
        next.back().name += fmt::format("-{}{}", axis.key, value);
        find_setting(axis.key)->set(next.back(), value);
      }
    }
    tasks = std::move(next);
  }
  return tasks;
}

std::string sweep_text(Trainer& trainer) {
  std::string text = fmt::format("{:32} {:>9} {:>5} {:>6} {:>10} {:>10} {:>9}\n", "adapter", "lr", "rank",
                                 "alpha", "steps", "best step", "held-out");
  const std::vector<size_t> order = ranked(trainer);
  for (const size_t i : order) text += row_text(trainer, i, i == order.front());
  const std::vector<TokenizedExample>& validation = trainer.task(0).validation;
  if (validation.empty()) return text + "no examples are held out: the losses are of the last steps\n";
  return text + fmt::format("{:32} {:>54.4f}\n", "the base", trainer.loss(std::nullopt, validation));
}

json::value sweep_json(const Trainer& trainer, const std::string& output) {
  json::array adapters;
  for (const size_t i : ranked(trainer)) {
    const TuneTask& task = trainer.task(i);
    const TuneState& state = trainer.state(i);
    adapters.push_back({{"name", task.name},
                        {"path", adapter_directory(trainer, output, i)},
                        {"lr", task.adam.learning_rate},
                        {"rank", task.shape.rank},
                        {"alpha", task.shape.alpha},
                        {"steps", state.step},
                        {"best_step", state.best_step},
                        {"loss", held_out(state)}});
  }
  return {{"sweep", std::move(adapters)}};
}

}  // namespace chorus
