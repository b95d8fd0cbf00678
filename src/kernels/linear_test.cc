#include <cmath>

#include "kernels/cpu/quantized_rows.h"
#include "kernels/kernels_test.h"
#include "kernels/training.h"

namespace chorus {
namespace {

class LinearTest : public KernelsTest {};

struct Problem {
  TestWeight weight;
  std::vector<float> x;
  TestQuantized quantized;
  std::vector<float> effective;  // what the table multiplies: x, or what its quants stand for
};

Problem make_problem(const Kernels& kernels, Layout layout, int n, int k, int rows) {
  Problem p = {random_weight(layout, n, k, 7), random_floats(static_cast<size_t>(rows * k), 8), {}, {}};
  p.quantized = quantize_on(kernels, p.x, rows, k);
  const bool int8 = kernels.int8_activations && is_quantized(layout.layout);
  p.effective = int8 ? p.quantized.dequantized(rows, k) : p.x;
  return p;
}

LinearArgs args_of(Problem& p, int row, int rows, std::vector<float>& y, int64_t y_stride) {
  const int k = p.weight.matrix.cols;
  return {.weight = &p.weight.matrix,
          .x = p.x.data() + row * k,
          .quantized = from_row(p.quantized.view(), row, k),
          .y = y.data(),
          .y_stride = y_stride,
          .rows = rows};
}

// How far what a table multiplies may be from x, of which it takes the two largest terms of 8 bits; or, of
// the forward pass of training, x times w rounded to 8 bits each.
double input_tolerance(const Kernels& kernels, Layout layout) {
  if (kernels.name == std::string_view("amxbf16")) return 0x1p-7;
  const bool two_terms = kernels.name == std::string_view("avx512bf16");
  return two_terms && layout.layout == MatrixLayout::kBF16 ? 0x1p-18 : 0;
}

TEST_P(LinearTest, MatchesTheProductInDouble) {
  for (const Layout layout : kLayouts) {
    for (const auto& [n, k, rows] :
         {std::array{16, 64, 1}, {40, 100, 3}, {72, 33, 19}, {48, 576, 70}, {16, 2200, 9}}) {
      Problem p = make_problem(kernels(), layout, n, k, rows);
      const int stride = n + 3;
      const auto bias = random_floats(static_cast<size_t>(n), 9);
      const auto before = random_floats(static_cast<size_t>(rows * stride), 10);
      std::vector<float> y = before;
      run_on_team(3, [&](Stream& stream) {
        LinearArgs args = args_of(p, 0, rows, y, stride);
        args.bias = bias.data();
        args.accumulate = true;
        run_linear(kernels(), stream, args);
      });
      for (int r = 0; r < rows; ++r) {
        for (int c = 0; c < stride; ++c) {
          const auto at = static_cast<size_t>(r * stride + c);
          if (c >= n) {
            EXPECT_EQ(y[at], before[at]);
            continue;
          }
          double expected = double{before[at]} + bias[static_cast<size_t>(c)], norm = std::fabs(expected);
          for (int i = 0; i < k; ++i) {
            const double product = double{p.weight.at(c, i)} * p.effective[static_cast<size_t>(r * k + i)];
            expected += product;
            norm += std::fabs(product);
          }
          // Roundings of a chain of k / 4 (dense) or k / 32 (quantized) sums, of the zero point and the end.
          const double tolerance = (k / 4 + 8) * 0x1p-24 + input_tolerance(kernels(), layout);
          ASSERT_NEAR(y[at], expected, norm * tolerance)
              << "layout " << int(layout.layout) << " min " << layout.has_min << " at " << r << " " << c;
        }
      }
    }
  }
}

// One strip of 64 columns whose rows are the least and the largest weight in turn.
TestWeight extreme_weight(Layout layout) {
  TestWeight weight;
  weight.bytes = Buffer<std::byte>(packed_bytes(layout.layout, layout.has_min, kStripRows, kBlockCols));
  weight.matrix = {weight.bytes.data(), kStripRows, kBlockCols, layout.layout, layout.has_min};
  std::vector<Q4Group> q4(2 * kStripRows);
  std::vector<Q8Group> q8(2 * kStripRows);
  for (size_t g = 0; g < q4.size(); ++g) {
    const bool largest = g / 2 % 2 == 1;
    q4[g].scale = q8[g].scale = 1;
    std::fill_n(q4[g].q, kGroupCols, static_cast<uint8_t>(largest ? 15 : 0));
    std::fill_n(q8[g].q, kGroupCols, static_cast<int8_t>(largest ? 127 : -128));
  }
  if (layout.layout == MatrixLayout::kQ4) {
    pack_strip(q4.data(), kStripRows, kBlockCols, layout.has_min, weight.bytes.data());
  } else {
    pack_strip(q8.data(), kStripRows, kBlockCols, weight.bytes.data());
  }
  return weight;
}

TEST_P(LinearTest, LargestProductsAreExact) {
  for (const Layout layout : {Layout{MatrixLayout::kQ4}, {MatrixLayout::kQ4, true}, {MatrixLayout::kQ8}}) {
    const TestWeight weight = extreme_weight(layout);
    for (const int rows : {1, 7}) {
      std::vector<float> x(static_cast<size_t>(rows * kBlockCols)), y(static_cast<size_t>(rows * kStripRows));
      for (size_t i = 0; i < x.size(); ++i) x[i] = i / kBlockCols % 2 == 0 ? 127 : -127;
      TestQuantized quantized = quantize_on(kernels(), x, rows, kBlockCols);
      run_on_team(1, [&](Stream& stream) {
        run_linear(kernels(), stream,
                   {.weight = &weight.matrix,
                    .x = x.data(),
                    .quantized = quantized.view(),
                    .y = y.data(),
                    .y_stride = kStripRows,
                    .rows = rows});
      });
      for (int i = 0; i < rows * kStripRows; ++i) {
        const float expected =
            kBlockCols * weight.at(i % kStripRows, 0) * x[static_cast<size_t>(i / kStripRows * kBlockCols)];
        EXPECT_EQ(y[static_cast<size_t>(i)], expected);
      }
    }
  }
}

TEST_P(LinearTest, RowsAreTheSameBitsInAnyBatch) {
  const int n = 72, k = 200, rows = 70;
  for (const Layout layout : kLayouts) {
    Problem p = make_problem(kernels(), layout, n, k, rows);
    const auto run = [&](int row, int count, int threads) {
      std::vector<float> y(static_cast<size_t>(count * n), NAN);
      run_on_team(threads,
                  [&](Stream& stream) { run_linear(kernels(), stream, args_of(p, row, count, y, n)); });
      return y;
    };
    const std::vector<float> whole = run(0, rows, 1);
    for (const int count : {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17, 49, 70}) {
      for (const int row : {0, (rows - count) / 2, rows - count}) {
        const auto y = run(row, count, 1 + (count + row) % 4);
        expect_same_bits(y.data(), whole.data() + row * n, y.size(), "linear");
      }
    }
  }
}

std::vector<const Kernels*> linear_tables() {
  std::vector<const Kernels*> tables = available_kernels();
  for (const TrainingKernels* training : available_training_kernels()) {
    if (training->forward != nullptr) tables.push_back(training->forward);
  }
  return tables;
}

INSTANTIATE_TEST_SUITE_P(Tables, LinearTest, testing::ValuesIn(linear_tables()), table_name);

}  // namespace
}  // namespace chorus
