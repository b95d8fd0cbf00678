#include "train/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "model/tensor_source.h"

namespace chorus {
namespace {

ModelConfig tiny_config() {
  return TensorSource::open(std::string(CHORUS_SOURCE_DIR) + "/tests/golden/models/llama_tied").config();
}

LoraParameters tiny_parameters() {
  return LoraParameters(tiny_config(), {.rank = 3, .alpha = 6, .targets = {Target::kQ, Target::kDown}}, 1);
}

std::vector<float> gradient_of(const LoraParameters& parameters, int step) {
  std::vector<float> gradient(parameters.values().size());
  const uint64_t key = stream_key(9, static_cast<uint64_t>(step));
  for (size_t i = 0; i < gradient.size(); ++i) gradient[i] = static_cast<float>(uniform_at(key, i) - 0.4);
  return gradient;
}

// The formulas of the paper, in double, element by element.
TEST(AdamW, IsThePapersFormula) {
  ThreadTeam team(2);
  LoraParameters parameters = tiny_parameters();
  std::vector<double> expected(parameters.values().begin(), parameters.values().end());
  std::vector<double> m(expected.size()), v(expected.size());
  const AdamWOptions options{.learning_rate = 0.01, .weight_decay = 0.1, .b_ratio = 4, .clip_norm = 0.5};
  AdamW optimizer(expected.size(), false);
  for (int t = 1; t <= 4; ++t) {
    const std::vector<float> gradient = gradient_of(parameters, t);
    double length = 0;
    for (const float g : gradient) length += double{g} * g;
    length = std::sqrt(length);
    EXPECT_NEAR(optimizer.step(team, options, 0.5, parameters, gradient), length, 1e-6 * length);
    for (const LoraLinear& linear : parameters.linears()) {
      const auto in = static_cast<size_t>(linear.in) * 3, out = static_cast<size_t>(linear.out) * 3;
      for (size_t element = 0; element < in + out; ++element) {
        const bool is_a = element < in;
        const size_t i = is_a ? linear.a + element : linear.b + element - in;
        const double rate = 0.5 * 0.01 * (is_a ? 1 : 4), g = gradient[i] * 0.5 / length;
        m[i] = 0.9 * m[i] + 0.1 * g;
        v[i] = 0.999 * v[i] + 0.001 * g * g;
        expected[i] -= rate * 0.1 * expected[i];
        expected[i] -=
            rate * (m[i] / (1 - std::pow(0.9, t))) / (std::sqrt(v[i] / (1 - std::pow(0.999, t))) + 1e-8);
      }
    }
  }
  for (size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(parameters.values()[i], expected[i], 2e-6) << i;
}

TEST(AdamW, ByteMomentsStepNearly) {
  ThreadTeam team(1);
  LoraParameters exact = tiny_parameters(), bytes = tiny_parameters();
  const LoraParameters start = tiny_parameters();
  AdamW exact_adam(exact.values().size(), false), byte_adam(exact.values().size(), true);
  for (int t = 0; t < 20; ++t) {
    const std::vector<float> gradient = gradient_of(exact, t);
    exact_adam.step(team, {.learning_rate = 0.01}, 1, exact, gradient);
    byte_adam.step(team, {.learning_rate = 0.01}, 1, bytes, gradient);
  }
  double moved = 0, apart = 0;
  for (size_t i = 0; i < exact.values().size(); ++i) {
    moved += std::pow(exact.values()[i] - start.values()[i], 2);
    apart += std::pow(exact.values()[i] - bytes.values()[i], 2);
  }
  EXPECT_LT(std::sqrt(apart / moved), 0.03);
  EXPECT_GT(apart, 0);
  EXPECT_LT(byte_adam.state().size() * 3, exact_adam.state().size());
}

TEST(AdamW, TheSameBytesAtAnyNumberOfThreadsAndAfterAPause) {
  for (const bool eight_bit : {false, true}) {
    std::vector<float> first;
    for (const int threads : {1, 2, 5}) {
      ThreadTeam team(threads);
      LoraParameters parameters = tiny_parameters();
      AdamW before(parameters.values().size(), eight_bit);
      for (int t = 0; t < 3; ++t) before.step(team, {}, 1, parameters, gradient_of(parameters, t));
      AdamW after(parameters.values().size(), eight_bit);
      std::memcpy(after.state().data(), before.state().data(), before.state().size());
      after.set_steps(before.steps());
      for (int t = 3; t < 6; ++t) {
        AdamW& optimizer = threads == 1 ? before : after;
        optimizer.step(team, {}, 1, parameters, gradient_of(parameters, t));
      }
      if (first.empty()) first.assign(parameters.values().begin(), parameters.values().end());
      EXPECT_EQ(std::memcmp(first.data(), parameters.values().data(), first.size() * sizeof(float)), 0)
          << threads;
    }
  }
}

TEST(Schedule, WarmsUpAndFalls) {
  const Schedule cosine{ScheduleKind::kCosine, 4, 14};
  EXPECT_DOUBLE_EQ(cosine.factor(0), 0.2);
  EXPECT_DOUBLE_EQ(cosine.factor(4), 1);
  EXPECT_NEAR(cosine.factor(9), 0.5, 1e-12);
  EXPECT_GT(cosine.factor(13), 0);
  EXPECT_DOUBLE_EQ((Schedule{ScheduleKind::kLinear, 0, 10}.factor(5)), 0.5);
  EXPECT_DOUBLE_EQ((Schedule{ScheduleKind::kConstant, 2, 10}.factor(9)), 1);
}

}  // namespace
}  // namespace chorus
