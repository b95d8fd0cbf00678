// The training ops on single rows or elements: dropout, norm, gated activation, cross entropy.

#include <algorithm>

#include "kernels/training_test.h"

namespace chorus {
namespace {

class TrainingOpsTest : public TrainingTest {};

using Floats = std::vector<float>;

TEST_P(TrainingOpsTest, HasEveryOp) {
  const TrainingKernels& k = kernels();
  EXPECT_TRUE(k.linear_backward && k.lora_backward && k.dora_backward && k.dropout && k.rms_norm_backward);
  EXPECT_TRUE(k.gated_backward && k.attention_backward && k.cross_entropy);
}

TEST(FindTrainingKernels, HasOneForEveryTable) {
  for (const Kernels* table : available_kernels()) {
    EXPECT_NE(find_training_kernels(table->name), nullptr) << table->name;
  }
  EXPECT_STREQ(find_training_kernels("reference")->name, "reference");
  EXPECT_STREQ(available_training_kernels().back()->name, "reference");
  EXPECT_EQ(find_training_kernels("sse9"), nullptr);
}

// Of y - before = gain * z: dz = gain * dy, and by magnitude what the sum over rows of dy * z is to
// gain / magnitude, the length it stands for.
TEST_P(TrainingOpsTest, DoraBackward) {
  const int rows = 37;
  for (const int n : {1, 16, 83, 300}) {
    const auto count = static_cast<size_t>(rows * n), outputs = static_cast<size_t>(n);
    const Floats y = random_floats(count, 1), before = random_floats(count, 2), dy = random_floats(count, 3);
    const Floats gain = random_floats(outputs, 4), start = random_floats(outputs, 5);
    Floats magnitude = random_floats(outputs, 6);
    magnitude[0] = 0;
    for (const bool is_difference : {false, true}) {
      Floats first;
      for (const int threads : {1, 3}) {
        Floats dz = dy, d_magnitude = start;
        run_on_team(threads, [&](Stream& stream) {
          kernels().dora_backward(
              stream, {y.data(), is_difference ? before.data() : nullptr, gain.data(), magnitude.data(),
                       dz.data(), dz.data(), d_magnitude.data(), rows, n});
        });
        for (size_t i = 0; i < outputs; ++i) {
          double sum = 0, size = 0;
          for (size_t at = i; at < count; at += outputs) {
            ASSERT_FLOAT_EQ(dz[at], gain[i] * dy[at]) << at;
            sum += dy[at] * (double{y[at]} - (is_difference ? before[at] : 0));
            size += std::fabs(double{dy[at]}) * (std::fabs(double{y[at]}) + std::fabs(double{before[at]}));
          }
          const double expected = i == 0 ? 0 : sum / magnitude[i];
          ASSERT_NEAR(d_magnitude[i] - double{start[i]}, expected,
                      i == 0 ? 0 : 1e-6 * (size / std::fabs(magnitude[i]) + std::fabs(start[i])))
              << i << " of " << n;
        }
        if (threads == 1) first = d_magnitude;
        expect_same_bits(d_magnitude.data(), first.data(), outputs, "d_magnitude");
      }
    }
  }
}

struct DropoutCase {
  int rows, cols;
  float p;
};

Floats run_dropout(const TrainingKernels& kernels, const Floats& x, Floats y, DropoutCase of,
                   const std::vector<uint64_t>& row_keys, int threads, bool accumulate) {
  run_on_team(threads, [&](Stream& stream) {
    kernels.dropout(stream, {x.data(), y.data(), row_keys.data(), 77, of.rows, of.cols, of.p, accumulate});
  });
  return y;
}

TEST_P(TrainingOpsTest, DropoutKeepsWhatItSays) {
  const DropoutCase of = {7, 83, 0.3f};
  const Floats x = random_floats(7 * 83, 1), y = random_floats(7 * 83, 2);
  const std::vector<uint64_t> row_keys = {3, 1ull << 40, 4, 1, 5, 9, 2};
  const Floats plain = run_dropout(kernels(), x, y, of, row_keys, 1, false);
  const Floats added = run_dropout(kernels(), x, y, of, row_keys, 1, true);
  const Floats zero(x.size(), 0.0f);
  for (size_t i = 0; i < x.size(); ++i) {
    const bool kept = dropout_keeps(77, row_keys[i / 83], static_cast<int>(i % 83), of.p);
    const float expected = kept ? x[i] / 0.7f : 0;
    ASSERT_NEAR(plain[i], expected, 4 * kRoundoff * std::fabs(expected)) << i;
    ASSERT_NEAR(added[i], y[i] + expected, 4 * kRoundoff * (std::fabs(expected) + std::fabs(y[i]))) << i;
  }
  for (int threads = 2; threads <= 5; ++threads) {
    const Floats again = run_dropout(kernels(), x, y, of, row_keys, threads, true);
    expect_same_bits(again.data(), added.data(), added.size(), std::to_string(threads) + " threads");
  }
  const Floats in_place = run_dropout(kernels(), x, x, of, row_keys, 2, false);
  expect_same_bits(in_place.data(), plain.data(), plain.size(), "over x itself, its old values aside");
}

// Of n independent draws the share is within 5 sigma, neighbours in every direction included.
TEST(DropoutKeeps, IsAFairCoin) {
  constexpr int kRows = 200, kCols = 500;
  for (const float p : {0.05f, 0.5f, 0.9f}) {
    const double keep = 1 - double{p}, n = kRows * kCols;
    int kept = 0, beside = 0, below = 0, other_key = 0;
    for (int r = 0; r < kRows; ++r) {
      for (int c = 0; c < kCols; ++c) {
        const auto row = static_cast<uint64_t>(r);
        const bool here = dropout_keeps(1, row, c, p);
        kept += here;
        beside += here && dropout_keeps(1, row, c + 1, p);
        below += here && dropout_keeps(1, row + 1, c, p);
        other_key += here && dropout_keeps(2, row, c, p);
      }
    }
    EXPECT_NEAR(kept / n, keep, 5 * std::sqrt(keep * (1 - keep) / n)) << p;
    const double both = keep * keep, wide = 5 * std::sqrt(both * (1 - both) / n) + 5e-4;
    EXPECT_NEAR(beside / n, both, wide) << p;
    EXPECT_NEAR(below / n, both, wide) << p;
    EXPECT_NEAR(other_key / n, both, wide) << p;
  }
  EXPECT_TRUE(dropout_keeps(1, 2, 3, 0));
}

Floats run_rms_norm(const TrainingKernels& kernels, const RmsNormBackwardArgs& args, const Floats& before,
                    int threads) {
  Floats dx = before;
  RmsNormBackwardArgs to = args;
  to.dx = dx.data();
  run_on_team(threads, [&](Stream& stream) { kernels.rms_norm_backward(stream, to); });
  return dx;
}

TEST_P(TrainingOpsTest, RmsNormBackward) {
  const int rows = 5;
  for (const int cols : {1, 16, 45, 576}) {
    const auto count = static_cast<size_t>(rows * cols);
    const Floats x = random_floats(count, 3), dy = random_floats(count, 4), before = random_floats(count, 5);
    const Floats weight = random_floats(static_cast<size_t>(cols), 6);
    RmsNormBackwardArgs args = {x.data(), dy.data(), weight.data(), nullptr, rows, cols, 1e-3f, true};
    const Floats dx = run_rms_norm(kernels(), args, before, 1);
    args.accumulate = false;
    const Floats fresh = run_rms_norm(kernels(), args, before, 1);
    for (int r = 0; r < rows; ++r) {
      const auto at = static_cast<size_t>(r * cols);
      std::vector<double> row(x.begin() + r * cols, x.begin() + (r + 1) * cols);
      const auto forward = [&] {
        double squares = 0, loss = 0;
        for (const double value : row) squares += value * value;
        const double inverse = 1 / std::sqrt(squares / cols + double{1e-3f});
        for (size_t i = 0; i < row.size(); ++i) loss += row[i] * inverse * weight[i] * dy[at + i];
        return loss;
      };
      for (size_t i = 0; i < row.size(); i += row.size() / 15 + 1) {
        const double expected = slope(row, i, forward), tolerance = 2e-5 * std::sqrt(cols);
        ASSERT_NEAR(fresh[at + i], expected, tolerance) << cols << " columns, row " << r << ", " << i;
        ASSERT_NEAR(dx[at + i], before[at + i] + expected, tolerance);
      }
    }
    args.accumulate = true;
    for (int threads = 2; threads <= 5; ++threads) {
      const Floats again = run_rms_norm(kernels(), args, before, threads);
      expect_same_bits(again.data(), dx.data(), count, std::to_string(threads) + " threads");
    }
  }
}

double activated(Activation activation, double x) {
  if (activation == Activation::kSilu) return x / (1 + std::exp(-x));
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

struct Gradients {
  Floats gate, up;
};

TEST_P(TrainingOpsTest, GatedBackward) {
  const size_t count = 1003;
  Floats gate = random_floats(count, 7, 3);
  gate[0] = -60;
  gate[1] = 60;
  gate[2] = 0;
  const Floats up = random_floats(count, 8), dy = random_floats(count, 9);
  for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh}) {
    const auto run = [&](int threads) {
      Gradients d = {gate, up};
      run_on_team(threads, [&](Stream& stream) {
        kernels().gated_backward(stream, {d.gate.data(), d.up.data(), dy.data(), d.gate.data(), d.up.data(),
                                          static_cast<int64_t>(count), activation});
      });
      return d;
    };
    const Gradients d = run(1);
    for (size_t i = 0; i < count; ++i) {
      std::vector<double> at = {gate[i]};
      const double expected = slope(at, 0, [&] { return activated(activation, at[0]); }) * up[i] * dy[i];
      ASSERT_NEAR(d.gate[i], expected, 4e-6 * (1 + std::fabs(up[i] * dy[i]))) << gate[i];
      ASSERT_NEAR(d.up[i], activated(activation, gate[i]) * dy[i], 2e-6 * (1 + std::fabs(gate[i] * dy[i])));
    }
    for (int threads = 2; threads <= 5; ++threads) {
      const Gradients again = run(threads);
      expect_same_bits(again.gate.data(), d.gate.data(), count, "d_gate");
      expect_same_bits(again.up.data(), d.up.data(), count, "d_up");
    }
  }
}

struct CrossEntropyResult {
  Floats logits;
  std::vector<double> nll;
};

CrossEntropyResult run_cross_entropy(const TrainingKernels& kernels, const Floats& logits,
                                     const std::vector<int32_t>& labels, const float* weights, float cap,
                                     int threads) {
  const int rows = static_cast<int>(labels.size());
  CrossEntropyResult result = {logits, std::vector<double>(labels.size(), NAN)};
  run_on_team(threads, [&](Stream& stream) {
    kernels.cross_entropy(stream, {result.logits.data(), labels.data(), weights, cap, rows,
                                   static_cast<int>(logits.size() / labels.size()), result.nll.data()});
  });
  return result;
}

// By a difference quotient along what the cap is applied to.
TEST_P(TrainingOpsTest, CrossEntropy) {
  for (const int vocab : {2, 17, 1000}) {
    for (const float cap : {0.0f, 5.0f}) {
      const std::vector<int32_t> labels = {0, vocab - 1, vocab / 2};
      const Floats raw = random_floats(3 * static_cast<size_t>(vocab), 10, 4), weights = {0.5f, 0, 2};
      Floats logits = raw;
      if (cap > 0) {
        for (float& value : logits) value = cap * std::tanh(value / cap);
      }
      const CrossEntropyResult result = run_cross_entropy(kernels(), logits, labels, weights.data(), cap, 1);
      for (size_t r = 0; r < 3; ++r) {
        const auto at = static_cast<std::ptrdiff_t>(r) * vocab;
        std::vector<double> row(raw.begin() + at, raw.begin() + at + vocab);
        const auto nll = [&] {
          const auto capped = [&](double x) { return cap > 0 ? cap * std::tanh(x / cap) : x; };
          double total = 0;
          for (const double x : row) total += std::exp(capped(x));
          return std::log(total) - capped(row[static_cast<size_t>(labels[r])]);
        };
        EXPECT_NEAR(result.nll[r], nll(), 1e-5);
        for (size_t i = 0; i < row.size(); i += row.size() / 25 + 1) {
          ASSERT_NEAR(result.logits[static_cast<size_t>(at) + i], weights[r] * slope(row, i, nll), 2e-6)
              << vocab << ", cap " << cap << ", row " << r << ", " << i;
        }
      }
      const CrossEntropyResult only = run_cross_entropy(kernels(), logits, labels, nullptr, cap, 3);
      EXPECT_EQ(only.logits, logits);
      EXPECT_EQ(only.nll, result.nll);
      for (int threads = 2; threads <= 5; ++threads) {
        const auto again = run_cross_entropy(kernels(), logits, labels, weights.data(), cap, threads);
        expect_same_bits(again.logits.data(), result.logits.data(), logits.size(), "logits");
        EXPECT_EQ(again.nll, result.nll);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, TrainingOpsTest, testing::ValuesIn(available_training_kernels()),
                         training_table_name);

}  // namespace
}  // namespace chorus
