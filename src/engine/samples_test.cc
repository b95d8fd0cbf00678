#include "engine/samples.h"

#include <gtest/gtest.h>

#include <thread>

namespace chorus {
namespace {

TEST(Samples, Median) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
}

TEST(Samples, NoSamplesGiveZeros) {
  const Figure figure = summarize({});
  EXPECT_EQ(figure.seconds, 0);
  EXPECT_EQ(figure.samples, 0);
  EXPECT_FALSE(figure.clean);
}

TEST(Samples, DisturbedSamplesAreLeftOutOfTheMedian) {
  const Figure figure = summarize({{1, 0.99}, {9, 0.5}, {2, 0.98}, {8, 0.4}, {3, 1.0}});
  EXPECT_TRUE(figure.clean);
  EXPECT_EQ(figure.clean_samples, 3);
  EXPECT_EQ(figure.samples, 5);
  EXPECT_EQ(figure.seconds, 2);
  EXPECT_EQ(figure.cpu_share, 0.99);
  EXPECT_DOUBLE_EQ(figure.mean_seconds, 4.6);
}

TEST(Samples, TooFewCleanSamplesAreNotChosenOverTheRest) {
  const Figure figure = summarize({{1, 0.99}, {4, 0.5}, {5, 0.5}, {6, 0.5}});
  EXPECT_FALSE(figure.clean);
  EXPECT_EQ(figure.clean_samples, 1);
  EXPECT_EQ(figure.seconds, 4.5);
}

TEST(Samples, StopwatchTellsWorkFromWaiting) {
  const Stopwatch waiting(1);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const Sample idle = waiting.stop();
  EXPECT_GE(idle.seconds, 0.05);
  EXPECT_LT(idle.cpu_share, 0.5);

  const Stopwatch working(2);  // of two threads, one works
  while (working.seconds() < 0.05) {
  }
  const Sample busy = working.stop();
  EXPECT_GT(busy.cpu_share, 0);
  EXPECT_LT(busy.cpu_share, 0.6);
}

}  // namespace
}  // namespace chorus
