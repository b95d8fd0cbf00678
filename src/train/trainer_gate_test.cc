// What a gate may do to a trainer: hold it up and stop it, but not change what it computes.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "model/golden_test_util.h"
#include "train/tune_model.h"

namespace chorus {
namespace {

TokenizedExample example(int32_t first) {
  TokenizedExample out;
  for (int32_t i = 0; i < 9; ++i) {
    out.tokens.push_back((first + 3 * i) % 50);
    out.label.push_back(i > 2);
  }
  out.labels = 6;
  return out;
}

std::vector<TuneTask> tasks() {
  TuneTask task;
  task.name = "a";
  for (int32_t i = 0; i < 6; ++i) task.train.push_back(example(i));
  task.validation = {example(20), example(30)};
  task.shape.rank = 2;
  task.shape.targets = {Target::kQ, Target::kDown};
  task.dropout = 0.1F;
  task.batch = 2;
  task.epochs = 2;
  task.eval_every = 2;
  std::vector<TuneTask> out;
  out.push_back(std::move(task));
  return out;
}

struct Fixture {
  Model model = load_golden_model("llama_tied");
  ThreadTeam team{2};
  Trainer trainer() { return make_trainer(model, team, tasks(), {.rows = 16}); }
};

std::vector<float> finish(Trainer& trainer) {
  while (!trainer.done()) trainer.step();
  const std::span<const float> values = trainer.parameters(0).values();
  return {values.begin(), values.end()};
}

TEST(TrainerGate, IsAskedBetweenLayersAndChangesNothing) {
  Fixture fixture;
  Trainer plain = fixture.trainer(), gated = fixture.trainer();
  int asked = 0;
  gated.set_gate([&] { ++asked; });
  gated.step();
  const int layers = static_cast<int>(fixture.model.config.layers.size());
  EXPECT_GE(asked, 2 * layers + 1) << "each layer forward and back, and the labels";
  EXPECT_EQ(finish(gated), finish(plain));
}

// Wherever it is stopped: either the step is undone and can be made again, or the trainer says that it
// cannot.
TEST(TrainerGate, StoppedAnywhereIsUndoneOrToldOf) {
  Fixture fixture;
  Trainer plain = fixture.trainer();
  int all = 0, undone = 0, broken = 0;
  plain.set_gate([&] { ++all; });
  const std::vector<float> wanted = finish(plain);
  for (int at = 0; at < all; at += 3) {
    Trainer trainer = fixture.trainer();
    int left = at;
    trainer.set_gate([&] {
      if (left-- == 0) throw TrainingStopped();
    });
    EXPECT_THROW(finish(trainer), TrainingStopped);
    trainer.set_gate({});
    if (!trainer.whole()) {
      ++broken;
      continue;
    }
    ++undone;
    EXPECT_EQ(finish(trainer), wanted) << "stopped at " << at;
  }
  EXPECT_GT(undone, broken);
  EXPECT_GT(broken, 0) << "evaluations were stopped too";
}

}  // namespace
}  // namespace chorus
