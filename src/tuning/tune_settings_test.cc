#include "tuning/tune_settings.h"

#include <gtest/gtest.h>

namespace chorus {
namespace {

std::string field_of(const json::object& fields) {
  TuneSettings settings;
  try {
    read_settings(fields, settings, "lora.");
  } catch (const SettingError& error) {
    EXPECT_NE(std::string(error.what()).find(error.field), std::string::npos) << error.what();
    return error.field;
  }
  return "";
}

TEST(TuneSettings, AreTheSameAfterJson) {
  TuneSettings settings{.rank = 3,
                        .alpha = 7.5,
                        .rslora = true,
                        .targets = "q_proj",
                        .layers = "0-1",
                        .learning_rate = 0.1,
                        .schedule = "linear",
                        .moments = 8,
                        .epochs = 0.5,
                        .max_steps = 9,
                        .seed = int64_t{1} << 53};
  const json::object fields = settings_json(settings);
  TuneSettings again;
  read_settings(fields, again);
  EXPECT_EQ(settings_json(again), fields);
  EXPECT_EQ(again.seed, int64_t{1} << 53);
  EXPECT_TRUE(again.rslora);
  EXPECT_EQ(again.schedule, "linear");
}

TEST(TuneSettings, DefaultsAreTheCommands) {
  const TuneTask task = task_of({}, 4), plain;
  EXPECT_EQ(task.adam.learning_rate, plain.adam.learning_rate);
  EXPECT_EQ(task.adam.weight_decay, plain.adam.weight_decay);
  EXPECT_EQ(task.adam.clip_norm, plain.adam.clip_norm);
  EXPECT_EQ(task.adam.b_ratio, plain.adam.b_ratio);
  EXPECT_EQ(task.shape.rank, plain.shape.rank);
  EXPECT_EQ(task.shape.alpha, plain.shape.alpha);
  EXPECT_EQ(task.schedule, plain.schedule);
  EXPECT_EQ(task.warmup, plain.warmup);
  EXPECT_EQ(task.epochs, plain.epochs);
  EXPECT_EQ(task.batch, plain.batch);
  EXPECT_EQ(task.patience, plain.patience);
  EXPECT_EQ(task.seed, plain.seed);
  EXPECT_EQ(task.shape.targets.size(), static_cast<size_t>(kLayerTargets));
}

TEST(TuneSettings, RefusalsNameTheField) {
  EXPECT_EQ(field_of({{"rank", nullptr}}), "");
  EXPECT_EQ(field_of({{"rank", 256}}), "");
  EXPECT_EQ(field_of({{"rank", 8.0}}), "");
  for (const json::value& bad : {json::value(0), json::value(257), json::value(1.5), json::value("8"),
                                 json::value(true), json::value(json::array()), json::value(1e300)}) {
    EXPECT_EQ(field_of({{"rank", bad}}), "lora.rank") << bad;
  }
  EXPECT_EQ(field_of({{"moments", 16}}), "lora.moments");
  EXPECT_EQ(field_of({{"schedule", "sinus"}}), "lora.schedule");
  EXPECT_EQ(field_of({{"targets", std::string(1025, 'x')}}), "lora.targets");
  EXPECT_EQ(field_of({{"rslora", 1}}), "lora.rslora");
  EXPECT_EQ(field_of({{"seed", -1}}), "lora.seed");
  EXPECT_EQ(field_of({{"what\n", 1}}), "lora.what\\x0a");
}

}  // namespace
}  // namespace chorus
