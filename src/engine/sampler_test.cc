#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <set>

namespace chorus {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

// A row of logits, parameters and a sampler; drawing at many positions gives independent draws.
struct Scene {
  explicit Scene(std::vector<float> row)
      : logits(std::move(row)), sampler(static_cast<int>(logits.size()), 20) {}

  Sampled sample(int position = 0) {
    SampleArgs args;
    args.logits = logits;
    args.params = &params;
    args.prompt = prompt;
    args.output = output;
    args.banned = banned;
    args.allowed = allowed;
    args.position = position;
    return sampler.sample(args);
  }

  std::set<int32_t> drawn(int draws = 2000) {
    std::set<int32_t> tokens;
    for (int i = 0; i < draws; ++i) tokens.insert(sample(i).token);
    return tokens;
  }

  std::vector<float> logits;
  SamplingParams params;
  std::vector<int32_t> prompt, output, banned;
  std::vector<uint64_t> allowed;
  Sampler sampler;
};

std::vector<float> log_of(std::vector<float> probabilities) {
  for (float& p : probabilities) p = std::log(p);
  return probabilities;
}

// Pearson's statistic of `draws` draws against the probabilities.
double chi_square(Scene& scene, const std::vector<double>& probabilities, int draws) {
  std::vector<int> counts(probabilities.size(), 0);
  for (int i = 0; i < draws; ++i) ++counts[static_cast<size_t>(scene.sample(i).token)];
  double sum = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double want = probabilities[i] * draws;
    if (want == 0) {
      EXPECT_EQ(counts[i], 0) << i;
    } else {
      sum += (counts[i] - want) * (counts[i] - want) / want;
    }
  }
  return sum;
}

TEST(Sampler, PhiloxKnownAnswers) {
  // philox4x32-10 of Random123's kat_vectors, counter and key 0: 6627e8d5 e169c58d bc57ac4c 9b00dbd8.
  EXPECT_EQ(counter_uniform(0, 0, 0),
            static_cast<double>((uint64_t{0xe169c58d} << 32 | 0x6627e8d5) >> 11) * 0x1p-53);
}

TEST(Sampler, GreedyTakesTheLowestIdOfTies) {
  Scene s({1, 5, 2, 5, 5});
  s.params.temperature = 0;
  EXPECT_EQ(s.sample().token, 1);
  s.banned = {1};
  EXPECT_EQ(s.sample().token, 3);
}

// 200 ids are three blocks and a part of one; the largest logits are not allowed.
TEST(Sampler, OnlyWhatTheMaskAllowsIsDrawnWhateverTheMethod) {
  std::vector<float> row(200);
  for (size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>((i * 37) % 100) * 0.03f;
  const std::set<int32_t> may = {3, 63, 64, 130, 131, 191};
  Scene s(row);
  s.allowed = std::vector<uint64_t>(3, 0);  // ids from 192 on are past its end
  for (const int32_t id : may) s.allowed[static_cast<size_t>(id) / 64] |= uint64_t{1} << (id % 64);
  for (int method = 0; method < 6; ++method) {
    s.params = {};
    if (method == 1) s.params.top_k = 5;
    if (method == 2) s.params.top_p = 0.8f;
    if (method == 3) s.params.min_p = 0.1f;
    if (method == 4) s.params.repetition_penalty = 1.3f;
    if (method == 5) s.params.temperature = 0;
    s.output = {131, 7};
    const std::set<int32_t> drawn = s.drawn();
    EXPECT_TRUE(std::ranges::includes(may, drawn)) << method;
    if (method == 0) {
      EXPECT_EQ(drawn, may);
    }
  }
}

TEST(Sampler, AMaskDoesNotChangeLogProbabilities) {
  Scene s(log_of({0.5f, 0.25f, 0.125f, 0.125f}));
  s.params.top_logprobs = 2;
  s.allowed = {0b0100};
  const Sampled sampled = s.sample();
  EXPECT_EQ(sampled.token, 2);
  EXPECT_NEAR(sampled.logprob, std::log(0.125f), 1e-5f);
  EXPECT_EQ(sampled.top[0].token, 0);
}

TEST(Sampler, WhatIsBannedMayBeDrawnWhereNothingElseIsAllowed) {
  Scene s({1, 2, 3, 4});
  s.banned = {2, 1};
  s.allowed = {0b0111};
  EXPECT_EQ(s.drawn(), std::set<int32_t>({0}));
  s.allowed = {0b0110};
  EXPECT_EQ(s.drawn(), std::set<int32_t>({1, 2}));
}

TEST(Sampler, DrawsFollowTheDistribution) {
  Scene s(log_of({0.5f, 0.25f, 0.125f, 0.125f}));
  // 3 degrees of freedom: 16.3 is exceeded once in 1000; the seed is fixed.
  EXPECT_LT(chi_square(s, {0.5, 0.25, 0.125, 0.125}, 20000), 16.3);
  EXPECT_GT(chi_square(s, {0.25, 0.25, 0.25, 0.25}, 20000), 100.0);
}

TEST(Sampler, TemperatureSharpens) {
  Scene s(log_of({0.6f, 0.3f, 0.1f}));
  s.params.temperature = 0.5f;
  const double total = 0.36 + 0.09 + 0.01;
  EXPECT_LT(chi_square(s, {0.36 / total, 0.09 / total, 0.01 / total}, 20000), 13.8);
  s.params.temperature = 1e-30f;
  EXPECT_EQ(s.drawn(), (std::set<int32_t>{0}));
}

TEST(Sampler, TopKKeepsKAndBreaksTiesById) {
  Scene s(log_of({0.1f, 0.3f, 0.2f, 0.2f, 0.2f}));
  s.params.top_k = 2;
  EXPECT_LT(chi_square(s, {0, 0.6, 0.4, 0, 0}, 20000), 10.8);
  s.params.top_k = 100;
  EXPECT_EQ(s.drawn().size(), 5u);
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  Scene s(log_of({0.1f, 0.45f, 0.25f, 0.2f}));
  s.params.top_p = 0.69f;
  EXPECT_LT(chi_square(s, {0, 0.45 / 0.7, 0.25 / 0.7, 0}, 20000), 10.8);
  s.params.top_p = 0.71f;
  EXPECT_EQ(s.drawn(), (std::set<int32_t>{1, 2, 3}));
  s.params.top_p = 1e-6f;
  EXPECT_EQ(s.drawn(), (std::set<int32_t>{1}));
}

// The selection grows in pieces; all of them against a full sort.
TEST(Sampler, TopPOverManyTokensAgreesWithASort) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> logits(3000);
  for (float& x : logits) x = normal(random);
  std::vector<double> sorted;
  double total = 0;
  for (const float x : logits) total += std::exp(static_cast<double>(x));
  for (const float x : logits) sorted.push_back(std::exp(static_cast<double>(x)) / total);
  std::sort(sorted.rbegin(), sorted.rend());
  for (const float top_p : {0.1f, 0.5f, 0.9f, 0.99f}) {
    double sum = 0;
    size_t kept = 0;
    while (sum < static_cast<double>(top_p)) sum += sorted[kept++];
    Scene s(logits);
    s.params.top_p = top_p;
    for (const int32_t token : s.drawn(300))
      EXPECT_GE(std::exp(static_cast<double>(logits[static_cast<size_t>(token)])) / total,
                sorted[kept - 1] * 0.9999);
  }
}

// Rows on which a selection is hard: ties, clusters far apart, values beyond each other's precision.
std::vector<std::vector<float>> hard_rows() {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, 1);
  std::vector<std::vector<float>> rows(5, std::vector<float>(5000));
  for (size_t i = 0; i < 5000; ++i) {
    const float x = normal(random);
    rows[0][i] = 1;
    rows[1][i] = std::round(x * 2);
    rows[2][i] = i % 3 == 0 ? x * 1e-6f : i % 3 == 1 ? 5 + x * 1e-5f : -1e30f * (x + 5);
    rows[3][i] = i % 7 == 0 ? -kInf : x * 1e-42f;
    rows[4][i] = x * 10;
  }
  return rows;
}

TEST(Sampler, TopKOfHardRowsIsThatOfASort) {
  for (const std::vector<float>& row : hard_rows()) {
    std::vector<int32_t> order(row.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
    std::ranges::stable_sort(order, [&](int32_t a, int32_t b) {
      return row[static_cast<size_t>(a)] > row[static_cast<size_t>(b)];
    });
    for (const int k : {1, 2, 40, 79, 1000, 3333, 4999}) {
      Scene s(row);
      s.params.top_k = k;
      s.params.temperature = 100;
      const std::set<int32_t> kept(order.begin(), order.begin() + k);
      const std::set<int32_t> drawn = s.drawn(k < 50 ? 2000 : 300);
      EXPECT_TRUE(std::ranges::includes(kept, drawn)) << k;
      if (k < 3) {
        EXPECT_EQ(drawn.size(), row[static_cast<size_t>(order[1])] > -1e3f ? static_cast<size_t>(k) : 1) << k;
      }
    }
  }
}

TEST(Sampler, TopPOfEqualTokensKeepsTheLowestIds) {
  Scene s(std::vector<float>(1000, 0.5f));
  s.params.top_p = 0.0405f;
  std::set<int32_t> first;
  for (int32_t id = 0; id < 41; ++id) first.insert(id);
  EXPECT_EQ(s.drawn(), first);
}

TEST(Sampler, MinPIsRelativeToTheLikeliest) {
  Scene s(log_of({0.5f, 0.3f, 0.15f, 0.05f}));
  s.params.min_p = 0.31f;
  EXPECT_EQ(s.drawn(), (std::set<int32_t>{0, 1}));
  s.params.min_p = 0.29f;
  EXPECT_EQ(s.drawn(), (std::set<int32_t>{0, 1, 2}));
  s.params.min_p = 1;
  EXPECT_EQ(s.drawn(), (std::set<int32_t>{0}));
}

TEST(Sampler, LogitBias) {
  Scene s({0, 0, 1});
  s.params.temperature = 0;
  s.params.logit_bias = {{1, 2.0f}, {2, -1.0f}};
  EXPECT_EQ(s.sample().token, 1);
}

TEST(Sampler, RepetitionPenaltyTouchesPromptAndOutputOnce) {
  Scene s({4, 3, -1, 3.5f});
  s.params.temperature = 0;
  s.params.repetition_penalty = 2;
  s.prompt = {0, 0};
  s.output = {3, 0, 2};
  EXPECT_EQ(s.sample().token, 1);
  s.logits = {4, 1.9f, -1, 3.5f};  // 4 / 2, once only
  EXPECT_EQ(s.sample().token, 0);
  s.logits = {-8, -3, -1, -8};  // negative logits get more so: -1 * 2
  EXPECT_EQ(s.sample().token, 2);
  EXPECT_EQ(s.sample().token, 2);  // nothing is remembered between calls
}

TEST(Sampler, PresenceAndFrequencyPenaltiesTouchTheOutputOnly) {
  Scene s({4, 3});
  s.params.temperature = 0;
  s.params.presence_penalty = 1.5f;
  s.prompt = {0, 0, 0};
  EXPECT_EQ(s.sample().token, 0);
  s.output = {0};
  EXPECT_EQ(s.sample().token, 1);
  s.params.presence_penalty = 0;
  s.params.frequency_penalty = 0.4f;
  s.output = {0, 0};
  EXPECT_EQ(s.sample().token, 0);
  s.output = {0, 0, 0};
  EXPECT_EQ(s.sample().token, 1);
  s.output = {};
  EXPECT_EQ(s.sample().token, 0);
}

TEST(Sampler, SameSeedSampleAndPositionGiveTheSameToken) {
  Scene a(std::vector<float>(1000, 0.0f)), b(std::vector<float>(1000, 0.0f));
  a.params.seed = b.params.seed = 42;
  for (int i = 0; i < 100; ++i) b.sample(i * 7);  // a history of its own
  int equal = 0;
  for (int i = 0; i < 100; ++i) {
    const int32_t token = a.sample(i).token;
    EXPECT_EQ(token, b.sample(i).token);
    a.params.seed = 43;
    equal += token == a.sample(i).token;
    a.params.seed = 42;
  }
  EXPECT_LT(equal, 5);
}

TEST(Sampler, LogProbabilitiesAreTheModels) {
  Scene s(log_of({0.5f, 0.25f, 0.125f, 0.125f}));
  s.params.temperature = 0;
  s.params.top_logprobs = 4;
  s.params.logit_bias = {{3, 50.0f}};
  const Sampled got = s.sample();
  EXPECT_EQ(got.token, 3);
  EXPECT_NEAR(got.logprob, std::log(0.125), 1e-6);
  ASSERT_EQ(got.top.size(), 4u);
  double sum = 0;
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(got.top[i].token, static_cast<int32_t>(i));
    sum += std::exp(static_cast<double>(got.top[i].logprob));
  }
  EXPECT_NEAR(sum, 1, 1e-6);
  s.params.top_logprobs = 2;
  EXPECT_EQ(s.sample().top.size(), 2u);
  s.params.top_logprobs = 20;
  EXPECT_EQ(s.sample().top.size(), 4u);
}

TEST(Sampler, TopOfARisingRow) {
  std::vector<float> logits;
  for (int i = 0; i < 100; ++i) logits.push_back(static_cast<float>(i));
  Scene s(logits);
  const Sampled got = s.sampler.score(s.logits, 5, 3);
  ASSERT_EQ(got.top.size(), 3u);
  EXPECT_EQ(got.top[0].token, 99);
  EXPECT_EQ(got.top[2].token, 97);
}

TEST(Sampler, UnusableRowsGiveNoToken) {
  for (const std::vector<float>& row :
       {std::vector<float>{kNan, kNan}, {-kInf, -kInf}, {0, kInf}, {0, kNan}, {kNan, 0}}) {
    Scene s(row);
    EXPECT_EQ(s.sample().token, -1);
    EXPECT_EQ(s.sampler.score(s.logits, 0, 1).token, -1);
    s.params.temperature = 0;
    EXPECT_EQ(s.sample().token, -1);
  }
  Scene s({0, 1});
  s.banned = {0, 1};
  EXPECT_EQ(s.sample().token, -1);
}

TEST(Sampler, MaskedTokensAreNeverDrawn) {
  Scene s({-kInf, 0, -kInf, -1000});
  EXPECT_EQ(s.drawn(), (std::set<int32_t>{1}));
  s.params.top_p = 0.5f;
  s.params.top_k = 3;
  EXPECT_EQ(s.drawn(), (std::set<int32_t>{1}));
}

TEST(Sampler, ExtremeLogitsStaySafe) {
  Scene s({3e38f, -3e38f, 3e38f});
  s.params.repetition_penalty = 0.01f;
  s.prompt = {1};
  EXPECT_EQ(s.drawn(), (std::set<int32_t>{0, 2}));
  s.prompt = {0};  // overflows to infinity: refused, not drawn from
  EXPECT_EQ(s.sample().token, -1);
}

}  // namespace
}  // namespace chorus
