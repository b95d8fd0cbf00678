#include "tuning/tune_settings.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <type_traits>
#include <utility>
#include <variant>

#include "train/tune_model.h"

namespace chorus {
namespace {

constexpr size_t kMaxText = 1024;

using Member = std::variant<int64_t TuneSettings::*, double TuneSettings::*, bool TuneSettings::*,
                            std::string TuneSettings::*>;

struct Setting {
  std::string_view name;
  Member member;
  double min = 0, max = 0;                      // of numbers
  std::array<std::string_view, 3> one_of = {};  // of texts; empty: any
};

// Every setting with what it may be: the one table.
constexpr double kManySteps = 0x1p40;
constexpr Setting kSettings[] = {
    {"rank", &TuneSettings::rank, 1, 256},
    {"alpha", &TuneSettings::alpha, 1e-3, 1e5},
    {"rslora", &TuneSettings::rslora},
    {"dora", &TuneSettings::dora},
    {"targets", &TuneSettings::targets},
    {"layers", &TuneSettings::layers},
    {"dropout", &TuneSettings::dropout, 0, 0.9},
    {"learning_rate", &TuneSettings::learning_rate, 0, 10},
    {"lr_b_ratio", &TuneSettings::lr_b_ratio, 1e-3, 1e3},
    {"weight_decay", &TuneSettings::weight_decay, 0, 10},
    {"clip", &TuneSettings::clip, 0, 1e6},
    {"warmup", &TuneSettings::warmup, 0, 1},
    {"schedule", &TuneSettings::schedule, 0, 0, {"constant", "linear", "cosine"}},
    {"moments", &TuneSettings::moments, 8, 32},
    {"n_epochs", &TuneSettings::epochs, 1e-3, 1e4},
    {"max_steps", &TuneSettings::max_steps, 0, kManySteps},
    {"batch_size", &TuneSettings::batch, 1, 4096},
    {"eval_every", &TuneSettings::eval_every, 0, kManySteps},
    {"patience", &TuneSettings::patience, 0, 1 << 20},
    {"val_split", &TuneSettings::val_split, 0, 0.9},
    {"train_on", &TuneSettings::train_on, 0, 0, {"assistant", "last", "all"}},
    {"max_tokens", &TuneSettings::max_tokens, 2, 1 << 20},
    {"seed", &TuneSettings::seed, 0, 0x1p53},
};

template <typename... Args>
[[noreturn]] void refuse(const std::string& field, fmt::format_string<Args...> format, Args&&... args) {
  throw SettingError(field, field + " " + fmt::format(format, std::forward<Args>(args)...));
}

void read(const Setting& setting, const json::value& value, const std::string& field, bool& out) {
  (void)setting;
  if (!value.is_bool()) refuse(field, "must be true or false");
  out = value.get_bool();
}

void read(const Setting& setting, const json::value& value, const std::string& field, double& out) {
  const double number = value.is_number() ? value.to_number<double>() : NAN;
  if (!(number >= setting.min && number <= setting.max))
    refuse(field, "must be a number from {} to {}", setting.min, setting.max);
  out = number;
}

void read(const Setting& setting, const json::value& value, const std::string& field, int64_t& out) {
  const double number = value.is_number() ? value.to_number<double>() : NAN;
  if (!(number >= setting.min && number <= setting.max) || std::trunc(number) != number)
    refuse(field, "must be an integer from {:.0f} to {:.0f}", setting.min, setting.max);
  out = static_cast<int64_t>(number);
}

void read(const Setting& setting, const json::value& value, const std::string& field, std::string& out) {
  if (!value.is_string()) refuse(field, "must be a string");
  const std::string_view text = value.get_string();
  if (text.size() > kMaxText) refuse(field, "has {} bytes; at most {}", text.size(), kMaxText);
  const bool any = setting.one_of[0].empty();
  if (!any && std::ranges::find(setting.one_of, text) == setting.one_of.end())
    refuse(field, "must be one of {}", fmt::join(setting.one_of, ", "));
  out = text;
}

}  // namespace

void read_settings(const json::object& fields, TuneSettings& settings, std::string_view where) {
  for (const auto& [key, value] : fields) {
    if (value.is_null()) continue;
    const auto* setting = std::ranges::find(kSettings, std::string_view(key), &Setting::name);
    const std::string field = std::string(where) + printable(key);
    if (setting == std::end(kSettings)) throw SettingError(field, "unknown field: " + field);
    std::visit([&](auto member) { read(*setting, value, field, settings.*member); }, setting->member);
  }
  if (settings.moments != 8 && settings.moments != 32)
    refuse(std::string(where) + "moments", "must be 8 or 32");
}

json::object settings_json(const TuneSettings& settings) {
  json::object fields;
  for (const Setting& setting : kSettings)
    std::visit([&](auto member) { fields[setting.name] = settings.*member; }, setting.member);
  return fields;
}

TuneTask task_of(const TuneSettings& settings, int model_layers) {
  TuneTask task;
  task.shape.rank = static_cast<int>(settings.rank);
  task.shape.alpha = settings.alpha;
  task.shape.rslora = settings.rslora;
  task.shape.dora = settings.dora;
  set_targets(task.shape, settings.targets, settings.layers, model_layers);
  task.adam.learning_rate = settings.learning_rate;
  task.adam.b_ratio = settings.lr_b_ratio;
  task.adam.weight_decay = settings.weight_decay;
  task.adam.clip_norm = settings.clip;
  task.schedule = schedule_named(settings.schedule);
  task.warmup = settings.warmup;
  task.epochs = settings.epochs;
  task.max_steps = settings.max_steps;
  task.batch = static_cast<int>(settings.batch);
  task.dropout = static_cast<float>(settings.dropout);
  task.eval_every = settings.eval_every;
  task.patience = static_cast<int>(settings.patience);
  task.seed = static_cast<uint64_t>(settings.seed);
  task.eight_bit = settings.moments == 8;
  return task;
}

TuneDataOptions data_options(const TuneSettings& settings) {
  TuneDataOptions options;
  options.validation_share = settings.val_split;
  options.train_on = train_on_named(settings.train_on);
  options.max_tokens = static_cast<int>(settings.max_tokens);
  options.seed = static_cast<uint64_t>(settings.seed);
  return options;
}

TrainOn train_on_named(std::string_view name) {
  if (name == "all") return TrainOn::kAll;
  return name == "last" ? TrainOn::kLast : TrainOn::kAssistant;
}

ScheduleKind schedule_named(std::string_view name) {
  if (name == "constant") return ScheduleKind::kConstant;
  return name == "linear" ? ScheduleKind::kLinear : ScheduleKind::kCosine;
}

}  // namespace chorus
