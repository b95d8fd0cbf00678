#pragma once

// What the tests of the training ops share: every test runs for every table this machine can run.

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "kernels/kernels_test.h"
#include "kernels/training.h"

namespace chorus {

class TrainingTest : public testing::TestWithParam<const TrainingKernels*> {
 protected:
  const TrainingKernels& kernels() const { return *GetParam(); }
  bool exact() const { return std::string(kernels().name) == "reference"; }
};

inline std::string training_table_name(const testing::TestParamInfo<const TrainingKernels*>& info) {
  return info.param->name;
}

// The least tolerance of any f32 result.
constexpr double kRoundoff = 0x1p-23;

// The slope of f along x[i], by a central difference; f is exact to double.
inline double slope(std::vector<double>& x, size_t i, const std::function<double()>& f) {
  const double at = x[i], step = 1e-5 * std::max(1.0, std::fabs(at));
  x[i] = at + step;
  const double above = f();
  x[i] = at - step;
  const double below = f();
  x[i] = at;
  return (above - below) / (2 * step);
}

inline std::vector<double> to_double(const std::vector<float>& x) { return {x.begin(), x.end()}; }

// |actual - expected| <= tolerance * the largest expected value, element by element.
inline void expect_close(const std::vector<float>& actual, const std::vector<float>& expected,
                         double tolerance, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size());
  double largest = 0;
  for (const float value : expected) largest = std::max(largest, std::fabs(double{value}));
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_NEAR(actual[i], expected[i], tolerance * largest) << what << ": element " << i;
  }
}

}  // namespace chorus
