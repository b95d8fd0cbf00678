#include "kernels/kernels_test.h"

#include <cmath>
#include <cstdlib>

#include "base/error.h"

namespace chorus {
namespace {

std::vector<Q4Group> random_q4(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> scale(0.001f, 0.02f), min(-0.1f, 0.1f);
  std::vector<Q4Group> groups(count);
  for (Q4Group& group : groups) {
    group.scale = scale(random);
    group.min = min(random);
    for (uint8_t& q : group.q) q = static_cast<uint8_t>(random() % 16);
  }
  return groups;
}

std::vector<Q8Group> random_q8(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> scale(0.0001f, 0.002f);
  std::vector<Q8Group> groups(count);
  for (Q8Group& group : groups) {
    group.scale = scale(random);
    // Extremes often, because their products are what may saturate.
    for (int8_t& q : group.q) q = static_cast<int8_t>(random() % 4 == 0 ? 127 : random());
  }
  return groups;
}

}  // namespace

TestWeight random_weight(Layout layout, int rows, int cols, uint32_t seed) {
  TestWeight weight;
  weight.bytes = Buffer<std::byte>(packed_bytes(layout.layout, layout.has_min, rows, cols));
  weight.matrix = {weight.bytes.data(), rows, cols, layout.layout, layout.has_min};
  const auto groups_per_row = static_cast<size_t>(round_up(cols, kGroupCols) / kGroupCols);
  for (int row = 0; row < rows; row += kStripRows) {
    const int count = std::min(kStripRows, rows - row);
    const uint32_t strip_seed = seed + static_cast<uint32_t>(row);
    std::byte* strip = weight.bytes.data() + strip_bytes(layout.layout, layout.has_min, cols) *
                                                 static_cast<size_t>(row / kStripRows);
    if (layout.layout == MatrixLayout::kQ4) {
      pack_strip(random_q4(groups_per_row * kStripRows, strip_seed).data(), count, cols, layout.has_min,
                 strip);
    } else if (layout.layout == MatrixLayout::kQ8 || layout.layout == MatrixLayout::kQ8Short) {
      pack_strip(random_q8(groups_per_row * kStripRows, strip_seed).data(), count, cols, strip,
                 layout.layout);
    } else {
      const auto values = random_floats(static_cast<size_t>(count * cols), strip_seed, 0.1f);
      pack_strip(layout.layout, values.data(), cols, count, cols, strip);
    }
  }
  return weight;
}

std::vector<float> TestQuantized::dequantized(int rows, int cols) const {
  const int padded = round_up(cols, kBlockCols);
  std::vector<float> x;
  for (int r = 0; r < rows; ++r) {
    for (int i = 0; i < cols; ++i) {
      const auto at = static_cast<size_t>(r * padded + i);
      x.push_back(static_cast<float>(quants[at]) * scales[at / kGroupCols]);
    }
  }
  return x;
}

TestQuantized make_quantized(int rows, int cols) {
  const auto count = static_cast<size_t>(rows * round_up(cols, kBlockCols));
  return {std::vector<int8_t>(count, 99), std::vector<float>(count / kGroupCols, NAN),
          std::vector<int32_t>(count / kGroupCols, -1), std::vector<float>(count / kGroupCols, NAN)};
}

TestQuantized quantize_on(const Kernels& kernels, const std::vector<float>& x, int rows, int cols,
                          int threads) {
  TestQuantized out = make_quantized(rows, cols);
  run_on_team(threads, [&](Stream& stream) {
    kernels.quantize(stream, {.x = x.data(), .rows = rows, .cols = cols, .out = out.view()});
  });
  return out;
}

namespace {

TEST_P(KernelsTest, HasEveryOp) {
  const Kernels& k = kernels();
  EXPECT_TRUE(k.sync && k.quantize && k.embed && k.rms_norm && k.linear_group);
  EXPECT_TRUE(k.rope_table && k.attention && k.soft_cap);
  EXPECT_EQ(find_kernels(k.name), &k);
}

TEST_P(KernelsTest, EnvironmentChoosesIt) {
  setenv("CHORUS_KERNELS", kernels().name, 1);
  EXPECT_EQ(&choose_kernels(), &kernels());
  unsetenv("CHORUS_KERNELS");
}

TEST(ChooseKernels, TakesTheBestUnlessNamed) {
  unsetenv("CHORUS_KERNELS");
  EXPECT_EQ(&choose_kernels(), available_kernels().front());
  EXPECT_STREQ(available_kernels().back()->name, "reference");
  EXPECT_EQ(find_kernels("sse9"), nullptr);
  setenv("CHORUS_KERNELS", "sse9", 1);
  try {
    choose_kernels();
    ADD_FAILURE() << "an unknown name was accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("sse9"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("portable, reference"), std::string::npos) << error.what();
  }
  unsetenv("CHORUS_KERNELS");
}

TEST(Pack, UnpacksToWhatWasPacked) {
  const int rows = 19, cols = 100;
  for (const bool has_min : {false, true}) {
    const auto groups = random_q4(16 * 4, 5);
    Buffer<std::byte> strip(strip_bytes(MatrixLayout::kQ4, has_min, cols));
    pack_strip(groups.data(), 16, cols, has_min, strip.data());
    const TestWeight packed = {{}, {strip.data(), 16, cols, MatrixLayout::kQ4, has_min}};
    for (int row = 0; row < 16; ++row) {
      for (int col = 0; col < cols; ++col) {
        const Q4Group& group = groups[static_cast<size_t>(row * 4 + col / 32)];
        const float min = has_min ? group.min : -8 * group.scale;
        const float expected = group.scale * static_cast<float>(group.q[col % 32]) + min;
        EXPECT_NEAR(packed.at(row, col), expected, 16 * group.scale * 0x1p-11f + std::fabs(min) * 0x1p-11f);
      }
    }
  }
  for (const Layout layout : kLayouts) {
    const TestWeight weight = random_weight(layout, rows, cols, 1);
    EXPECT_NE(weight.at(18, 99), 0);
    EXPECT_NE(weight.at(18, 99), weight.at(17, 99));
  }
}

TEST_P(KernelsTest, QuantizeIsWithinHalfAStep) {
  const int rows = 5, cols = 164;
  auto x = random_floats(static_cast<size_t>(rows * cols), 1);
  for (int i = 32; i < 64; ++i) x[static_cast<size_t>(i)] = 0;
  x[70] = 1e6f;
  TestQuantized whole = quantize_on(kernels(), x, rows, cols);
  const auto back = whole.dequantized(rows, cols);
  const int padded = round_up(cols, kBlockCols);
  for (int r = 0; r < rows; ++r) {
    for (int i = 0; i < padded; ++i) {
      const auto at = static_cast<size_t>(r * padded + i);
      if (i >= cols) {
        EXPECT_EQ(whole.quants[at], 0);
        continue;
      }
      const auto from = static_cast<size_t>(r * cols + i);
      EXPECT_NEAR(back[from], x[from], whole.scales[at / 32] * 0.50002f) << r << " " << i;
    }
    for (int g = 0; g < padded / 32; ++g) {
      int32_t sum = 0;
      for (int i = 0; i < 32; ++i) sum += whole.quants[static_cast<size_t>(r * padded + g * 32 + i)];
      const auto group = static_cast<size_t>(r * padded / 32 + g);
      EXPECT_EQ(whole.starts[group], -8 * sum);
      EXPECT_EQ(whole.sums[group], whole.scales[group] * static_cast<float>(sum));
    }
  }
  EXPECT_EQ(whole.scales[1], 0);
  const TestQuantized shared = quantize_on(kernels(), x, rows, cols, 3);
  EXPECT_EQ(shared.quants, whole.quants);
  EXPECT_EQ(shared.scales, whole.scales);
  EXPECT_EQ(shared.starts, whole.starts);
  EXPECT_EQ(shared.sums, whole.sums);
}

TEST_P(KernelsTest, QuantizeTakesAnything) {
  std::vector<float> x(64, 1.0f);
  x[0] = NAN;
  x[33] = INFINITY;
  x[34] = -1e-42f;
  const TestQuantized out = quantize_on(kernels(), x, 1, 64);
  for (const int8_t q : out.quants) EXPECT_GE(q, -127);
}

TEST_P(KernelsTest, EmbedIsExact) {
  for (const Layout layout : kLayouts) {
    const TestWeight weight = random_weight(layout, 50, 100, 3);
    const int32_t tokens[] = {49, 0, 17, 17};
    std::vector<float> y(400);
    run_on_team(3, [&](Stream& stream) {
      kernels().embed(stream,
                      {.weight = &weight.matrix, .tokens = tokens, .y = y.data(), .rows = 4, .scale = 2});
    });
    for (size_t i = 0; i < y.size(); ++i) {
      EXPECT_EQ(y[i], 2 * weight.at(tokens[i / 100], static_cast<int>(i % 100)));
    }
  }
}

TEST_P(KernelsTest, RmsNormAndItsQuants) {
  for (const int cols : {16, 100, 576}) {
    const int rows = 7, stride = cols + 5;
    const auto x = random_floats(static_cast<size_t>(rows * stride), 1, 3);
    const auto weight = random_floats(static_cast<size_t>(cols), 2);
    std::vector<float> y(static_cast<size_t>(rows * cols));
    TestQuantized quantized = make_quantized(rows, cols);
    run_on_team(2, [&](Stream& stream) {
      kernels().rms_norm(stream, {.x = x.data(),
                                  .y = y.data(),
                                  .weight = weight.data(),
                                  .x_stride = stride,
                                  .y_stride = cols,
                                  .rows = rows,
                                  .cols = cols,
                                  .eps = 1e-5f,
                                  .quantized = quantized.view()});
    });
    for (int r = 0; r < rows; ++r) {
      double sum = 0;
      for (int i = 0; i < cols; ++i) sum += std::pow(x[static_cast<size_t>(r * stride + i)], 2);
      for (int i = 0; i < cols; ++i) {
        const double expected = x[static_cast<size_t>(r * stride + i)] / std::sqrt(sum / cols + 1e-5) *
                                weight[static_cast<size_t>(i)];
        EXPECT_NEAR(y[static_cast<size_t>(r * cols + i)], expected, 1e-6 * std::fabs(expected));
      }
    }
    EXPECT_EQ(quantized.quants, quantize_on(kernels(), y, rows, cols).quants);
  }
}

// Chosen rows, added to what is there, by each member for itself: each has what the shared op gives.
TEST_P(KernelsTest, RmsNormAloneOfChosenRows) {
  constexpr int kRows = 3, kCols = 100, kThreads = 3;
  constexpr int32_t kChosen[kRows] = {4, 0, 4};
  const auto x = random_floats(5 * kCols, 1, 3), weight = random_floats(kCols, 2);
  std::vector<float> y(5 * kCols);
  RmsNormArgs args = {.x = x.data(),
                      .y = y.data(),
                      .weight = weight.data(),
                      .x_stride = kCols,
                      .y_stride = kCols,
                      .rows = 5,
                      .cols = kCols,
                      .eps = 1e-5f};
  run_on_team(kThreads, [&](Stream& stream) { kernels().rms_norm(stream, args); });
  const auto before = random_floats(kRows * kCols, 3);
  std::vector<std::vector<float>> own(kThreads, before);
  args.rows = kRows;
  args.row_index = kChosen;
  args.accumulate = true;
  args.alone = true;
  run_on_team(kThreads, [&](Stream& stream) {
    RmsNormArgs mine = args;
    mine.y = own[static_cast<size_t>(stream.member->index())].data();
    kernels().rms_norm(stream, mine);
  });
  for (size_t i = 0; i < before.size(); ++i) {
    const float normed = y[static_cast<size_t>(kChosen[i / kCols]) * kCols + i % kCols];
    EXPECT_NEAR(own[0][i], before[i] + normed, 1e-6 * (std::fabs(before[i]) + std::fabs(normed)));
  }
  for (const auto& rows : own) EXPECT_EQ(rows, own[0]);
}

TEST_P(KernelsTest, SoftCap) {
  const auto x = random_floats(103, 1, 20);
  auto y = x;
  run_on_team(3,
              [&](Stream& stream) { kernels().soft_cap(stream, {.x = y.data(), .count = 103, .cap = 30}); });
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected = 30 * std::tanh(double{x[i]} / 30);
    EXPECT_NEAR(y[i], expected, 3e-7 * std::fabs(expected));
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, KernelsTest, testing::ValuesIn(available_kernels()), table_name);

}  // namespace
}  // namespace chorus
