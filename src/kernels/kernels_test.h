#pragma once

// What the tests of this folder share: every test runs for every table this machine can run.

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "base/buffer.h"
#include "kernels/kernels.h"
#include "kernels/pack.h"

namespace chorus {

class KernelsTest : public testing::TestWithParam<const Kernels*> {
 protected:
  const Kernels& kernels() const { return *GetParam(); }
};

inline std::string table_name(const testing::TestParamInfo<const Kernels*>& info) { return info.param->name; }

// f(stream) on every member of a team.
template <typename F>
void run_on_team(int threads, F f) {
  ThreadTeam team(threads);
  team.run([&](TeamMember& member) {
    Stream stream{.member = &member};
    f(stream);
  });
}

// One product without adapters: a group of one task.
struct LinearArgs {
  const PackedMatrix* weight = nullptr;
  const float* x = nullptr;
  QuantizedRows quantized;
  float* y = nullptr;
  int64_t y_stride = 0;
  const float* bias = nullptr;
  int rows = 0;
  bool accumulate = false, fine = false;
};

inline void run_linear(const Kernels& kernels, Stream& stream, const LinearArgs& args) {
  const LinearTask task = {args.weight, args.y, args.y_stride, args.accumulate, args.fine, args.bias};
  kernels.linear_group(stream, {args.x, args.quantized, args.rows, {&task, 1}, {}, {}});
}

inline std::vector<float> random_floats(size_t count, uint32_t seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

struct TestWeight {
  Buffer<std::byte> bytes;
  PackedMatrix matrix;

  float at(int row, int col) const {
    float block[kBlockCols];
    const int begin = col / kBlockCols * kBlockCols;
    unpack_row(matrix, row, begin, std::min(begin + kBlockCols, matrix.cols), block);
    return block[col - begin];
  }
};

struct Layout {
  MatrixLayout layout;
  bool has_min = false;
};
constexpr Layout kLayouts[] = {
    {MatrixLayout::kF32}, {MatrixLayout::kF16}, {MatrixLayout::kBF16},
    {MatrixLayout::kQ8},  {MatrixLayout::kQ4},  {MatrixLayout::kQ4, true},
};
constexpr Layout kDenseLayouts[] = {{MatrixLayout::kF32}, {MatrixLayout::kF16}, {MatrixLayout::kBF16}};

TestWeight random_weight(Layout layout, int rows, int cols, uint32_t seed);

// Rows quantized by a table's own op, and what they stand for.
struct TestQuantized {
  std::vector<int8_t> quants;
  std::vector<float> scales;
  std::vector<int32_t> starts;
  std::vector<float> sums;
  QuantizedRows view() { return {quants.data(), scales.data(), starts.data(), sums.data()}; }
  std::vector<float> dequantized(int rows, int cols) const;
};
TestQuantized make_quantized(int rows, int cols);
TestQuantized quantize_on(const Kernels& kernels, const std::vector<float>& x, int rows, int cols,
                          int threads = 1);

inline void expect_same_bits(const float* a, const float* b, size_t count, const std::string& what) {
  if (std::memcmp(a, b, count * sizeof(float)) == 0) return;
  for (size_t i = 0; i < count; ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(a[i]), std::bit_cast<uint32_t>(b[i]))
        << what << ": element " << i << ", " << a[i] << " and " << b[i];
  }
}

}  // namespace chorus
