// Rows that keep what rounding to int8 lost (QuantizedRows::rest).

#include <cmath>

#include "kernels/cpu/quantized_rows.h"
#include "kernels/kernels_test.h"

namespace chorus {
namespace {

class FineRowsTest : public KernelsTest {};

constexpr int kN = 40, kK = 200, kRows = 21;

struct FineRows {
  TestQuantized coarse = make_quantized(kRows, kK);
  std::vector<int8_t> rest = std::vector<int8_t>(coarse.quants.size());
  std::vector<int32_t> rest_starts = std::vector<int32_t>(coarse.starts.size());
  std::vector<float> sums = std::vector<float>(coarse.sums.size());

  QuantizedRows from(int row, bool fine) {
    QuantizedRows rows = coarse.view();
    if (fine) {
      rows.rest = rest.data();
      rows.rest_starts = rest_starts.data();
      rows.fine_sums = sums.data();
    }
    return from_row(rows, row, kK);
  }
};

std::vector<float> multiply(const Kernels& kernels, const TestWeight& weight, const QuantizedRows& rows,
                            int count, int threads) {
  std::vector<float> y(static_cast<size_t>(count * kN), NAN);
  run_on_team(threads, [&](Stream& stream) {
    LinearArgs args;
    args.weight = &weight.matrix;
    args.quantized = rows;
    args.y = y.data();
    args.y_stride = kN;
    args.rows = count;
    args.fine = rows.rest != nullptr;
    run_linear(kernels, stream, args);
  });
  return y;
}

double distance(const std::vector<float>& y, const TestWeight& weight, const std::vector<float>& x) {
  double sum = 0;
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kN; ++c) {
      double expected = 0;
      for (int i = 0; i < kK; ++i) expected += double{weight.at(c, i)} * x[static_cast<size_t>(r * kK + i)];
      sum += std::pow(y[static_cast<size_t>(r * kN + c)] - expected, 2);
    }
  }
  return std::sqrt(sum);
}

TEST_P(FineRowsTest, TheRestTakesMostOfTheRoundingOut) {
  if (!kernels().int8_activations) return;  // multiplies the floats themselves
  const auto x = random_floats(size_t{kRows} * kK, 3);
  FineRows rows;
  run_on_team(3, [&](Stream& stream) {
    kernels().quantize(stream, {x.data(), kRows, kK, rows.from(0, true)});
  });
  for (const Layout layout : {Layout{MatrixLayout::kQ4}, {MatrixLayout::kQ4, true}, {MatrixLayout::kQ8}}) {
    const TestWeight weight = random_weight(layout, kN, kK, 5);
    const auto fine = multiply(kernels(), weight, rows.from(0, true), kRows, 2);
    const auto coarse = multiply(kernels(), weight, rows.from(0, false), kRows, 2);
    EXPECT_LT(distance(fine, weight, x) * 100, distance(coarse, weight, x));
    for (const int count : {1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 17}) {  // tiles of every height
      for (const int row : {0, (kRows - count) / 2, kRows - count}) {
        const auto part = multiply(kernels(), weight, rows.from(row, true), count, 1 + row % 3);
        expect_same_bits(part.data(), fine.data() + row * kN, part.size(), "fine, in any batch");
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, FineRowsTest, testing::ValuesIn(available_kernels()), table_name);

}  // namespace
}  // namespace chorus
