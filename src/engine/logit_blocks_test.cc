#include "engine/logit_blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace chorus {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<float> random_row(size_t size, float deviation) {
  std::mt19937 random(static_cast<uint32_t>(size));
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> row(size);
  for (float& x : row) x = normal(random);
  return row;
}

TEST(LogitBlocks, MaximaOfEveryLength) {
  for (const size_t size : {1u, 3u, 63u, 64u, 65u, 128u, 1000u}) {
    const std::vector<float> row = random_row(size, 3);
    std::vector<float> maxima(logit_blocks(size));
    EXPECT_EQ(find_maxima(row, maxima), *std::ranges::max_element(row));
    for (size_t b = 0; b < maxima.size(); ++b) {
      const BlockRange range = block_range(b, size);
      EXPECT_EQ(maxima[b], *std::max_element(row.data() + range.begin, row.data() + range.end)) << size;
    }
  }
}

TEST(LogitBlocks, AnUnusableValueIsSeenWhereverItStands) {
  for (size_t i = 0; i < 130; ++i) {
    for (const float bad : {kNan, -kNan, kInf}) {
      std::vector<float> row(130, 1.0f), maxima(logit_blocks(row.size()));
      row[i] = bad;
      EXPECT_TRUE(std::isnan(find_maxima(row, maxima))) << i << " " << bad;
    }
  }
}

TEST(LogitBlocks, ExponentialsAreAccurate) {
  std::vector<float> row = random_row(1001, 20);
  row[7] = -kInf;
  row[8] = -3e38f;
  std::vector<float> maxima(logit_blocks(row.size())), sums(maxima.size()), weights(64 * maxima.size());
  const float max = find_maxima(row, maxima);
  exp_blocks({row, maxima, max, 0.8f, -kInf, weights}, sums);
  for (size_t b = 0; b < sums.size(); ++b) {
    double sum = 0;
    for (size_t i = b * kLogitBlock; i < (b + 1) * kLogitBlock; ++i) {
      // The quotient is a float here as there: its rounding is not the exponential's.
      const double exact = i < row.size() ? std::exp(static_cast<double>((row[i] - max) * (1 / 0.8f))) : 0;
      EXPECT_NEAR(weights[i], exact, exact * 1.2e-7 + 1e-37) << row[i] - max;
      sum += static_cast<double>(weights[i]);
    }
    EXPECT_NEAR(sums[b], sum, sum * 3e-7);
  }
}

TEST(LogitBlocks, BlocksBelowTheBoundAreZero) {
  std::vector<float> row(200, 1.0f), maxima(logit_blocks(row.size())), sums(maxima.size()),
      weights(64 * maxima.size(), 5.0f);
  row[70] = 3;
  exp_blocks({row, maxima, find_maxima(row, maxima), 1, 2, weights}, sums);
  EXPECT_EQ(sums[0], 0.0f);
  EXPECT_EQ(weights[0], 0.0f);
  EXPECT_GT(sums[1], 1.0f);
  EXPECT_EQ(sums[3], 0.0f);
}

TEST(LogitBlocks, RestrictingKeepsWhatIsAboveTheCut) {
  std::vector<float> row(100, 1.0f), maxima(logit_blocks(row.size())), sums(maxima.size()),
      weights(64 * maxima.size());
  row[3] = row[80] = 2;
  exp_blocks({row, maxima, find_maxima(row, maxima), 1, -kInf, weights}, sums);
  restrict_weights(row, {1.0f, 66}, 0, weights, sums);
  for (size_t i = 0; i < weights.size(); ++i) EXPECT_EQ(weights[i] > 0, i <= 66 || i == 80) << i;
  restrict_weights(row, {-kInf, 1000}, 0.5f, weights, sums);
  EXPECT_EQ(sums[0], 1.0f);
  EXPECT_EQ(sums[1], 1.0f);
}

}  // namespace
}  // namespace chorus
