#include "model/repack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "base/error.h"
#include "base/sha256.h"
#include "formats/quant_blocks.h"
#include "kernels/pack.h"
#include "model/packed_cache.h"

namespace chorus {
namespace {

constexpr int kRows = 37, kCols = 512;  // a narrow last strip; two blocks of the K types

struct TestTensor {
  std::vector<std::byte> bytes;
  FileTensor tensor;
  std::vector<float> values;  // what the file says, row-major
};

TestTensor random_tensor(DType type, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> source(size_t{kRows} * kCols);
  for (float& value : source) value = 0.05f * normal(random);
  const DTypeInfo info = dtype_info(type);
  TestTensor t;
  t.bytes.resize(source.size() / info.block_elements * info.block_bytes);
  quantize(type, source, t.bytes);
  t.tensor = {"weight", type, {kRows, kCols}, t.bytes};
  t.values.resize(source.size());
  dequantize(type, t.bytes, t.values);
  return t;
}

std::vector<float> unpacked(const PackedMatrix& matrix) {
  std::vector<float> values(size_t{kRows} * kCols);
  for (int row = 0; row < kRows; ++row) unpack_row(matrix, row, 0, kCols, values.data() + row * kCols);
  return values;
}

// Largest error of a group of 32 columns, as a share of the group's largest value.
float relative_error(const std::vector<float>& expected, const std::vector<float>& found) {
  float worst = 0;
  for (size_t group = 0; group < expected.size(); group += kGroupCols) {
    float largest = 0, error = 0;
    for (size_t i = group; i < group + kGroupCols; ++i) {
      largest = std::max(largest, std::abs(expected[i]));
      error = std::max(error, std::abs(expected[i] - found[i]));
    }
    worst = std::max(worst, error / largest);
  }
  return worst;
}

TEST(Repack, LosesNothingBeyondWhatTheHeaderStates) {
  ThreadTeam team(3);
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0,
                           DType::kQ8_0, DType::kQ4_K, DType::kQ6_K}) {
    const TestTensor t = random_tensor(type, 7);
    const OwnedMatrix matrix = repack(t.tensor, {}, team, "test");
    const float error = relative_error(t.values, unpacked(matrix.view));
    const std::string name(dtype_info(type).name);
    RecordProperty(name, std::to_string(error));
    if (type == DType::kQ4_K) {
      EXPECT_LT(error, 0x1p-9f) << name;  // two rounded products, each up to twice the value
    } else if (type == DType::kQ6_K) {
      EXPECT_LT(error, 0.5f / 127 + 0x1p-10f) << name;
    } else {
      EXPECT_EQ(error, 0) << name;
    }
  }
}

TEST(Repack, TakesInterleavedRowsApart) {
  const RowOrder order{8};
  const std::vector<int> expected = {0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15};
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(order.source(static_cast<int>(i)), expected[i]);
}

TEST(Repack, RefusesWhatIsNotFinite) {
  ThreadTeam team(2);
  for (const DType type : {DType::kF16, DType::kQ4_0, DType::kQ8_0, DType::kQ4_K}) {
    TestTensor t = random_tensor(type, 8);
    t.bytes[0] = std::byte{0x00};  // the first f16, a value or a scale, becomes infinite
    t.bytes[1] = std::byte{0x7C};
    try {
      repack(t.tensor, {}, team, "file.gguf");
      ADD_FAILURE() << dtype_info(type).name;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("file.gguf: tensor weight"), std::string::npos)
          << error.what();
    }
  }
}

// Caches on disk hold what repack() writes: where this fails, increase kPackedVersion and note the new hash.
TEST(Repack, TheBytesAreThoseOfThisPackedVersion) {
  ThreadTeam team(2);
  Sha256 hash;
  for (const DType type :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kQ4_0, DType::kQ4_1, DType::kQ8_0}) {
    for (const RowOrder order : {RowOrder{}, RowOrder{4}}) {
      TestTensor t = random_tensor(type, 11);
      if (order.permuted_head_dim != 0) {
        t.tensor.shape[0] = kRows - kRows % 4;
        t.tensor.data = t.tensor.data.first(t.bytes.size() / kRows * t.tensor.shape[0]);
      }
      std::vector<std::byte> packed(packed_bytes(packed_shape(t.tensor)));
      repack(t.tensor, order, team, "test", packed.data());
      hash.add(packed);
    }
  }
  EXPECT_EQ(kPackedVersion, 1);
  EXPECT_EQ(to_hex(hash.finish()), "34692a67d0887d600278b7520610e3e1e1d670801dc4b56dad3abc4d51ab3d83");
}

}  // namespace
}  // namespace chorus
