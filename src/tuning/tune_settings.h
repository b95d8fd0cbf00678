#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "formats/json.h"
#include "train/trainer.h"
#include "tuning/tune_data.h"

namespace chorus {

// How an adapter is tuned, as a job says it: what chorus tune has flags for.
struct TuneSettings {
  int64_t rank = 8;
  double alpha = 16;
  bool rslora = false, dora = false;
  std::string targets = "all-linear", layers;  // see set_targets()
  double dropout = 0;
  double learning_rate = 2e-4, lr_b_ratio = 1, weight_decay = 0, clip = 1, warmup = 0.03;
  std::string schedule = "cosine";
  int64_t moments = 32;  // bits
  double epochs = 3;
  int64_t max_steps = 0, batch = 8, eval_every = 0, patience = 0;
  double val_split = 0.1;
  std::string train_on = "assistant";
  int64_t max_tokens = 2048;
  int64_t seed = 1;
};

// What is wrong with one field.
struct SettingError : Error {
  SettingError(std::string name, const std::string& message) : Error(message), field(std::move(name)) {}
  std::string field;
};

// Sets what `fields` has; null counts as absent. SettingError: a name that is not known, a value of another
// kind or out of its range, with what would be right. `where` goes before names in it, as "lora.".
void read_settings(const json::object& fields, TuneSettings& settings, std::string_view where = "");
// All of them; read_settings() gives the same again.
json::object settings_json(const TuneSettings& settings);

// The same for those who tune. Error: targets or layers that the model does not have.
TuneTask task_of(const TuneSettings& settings, int model_layers);
TuneDataOptions data_options(const TuneSettings& settings);

TrainOn train_on_named(std::string_view name);
ScheduleKind schedule_named(std::string_view name);

}  // namespace chorus
