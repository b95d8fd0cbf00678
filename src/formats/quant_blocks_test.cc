#include "formats/quant_blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "formats/test_files.h"

namespace chorus {
namespace {

constexpr DType kAllTypes[] = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ4_0, DType::kQ4_1,
                               DType::kQ5_0, DType::kQ8_0, DType::kQ4_K, DType::kQ6_K};

std::vector<float> normal_values(size_t count, float deviation) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

std::vector<std::byte> quantized(DType type, std::span<const float> values) {
  const DTypeInfo info = dtype_info(type);
  std::vector<std::byte> bytes(values.size() / info.block_elements * info.block_bytes);
  quantize(type, values, bytes);
  return bytes;
}

std::vector<float> round_trip(DType type, std::span<const float> values) {
  std::vector<float> result(values.size());
  dequantize(type, quantized(type, values), result);
  return result;
}

double rms_error(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(double{a[i]} - double{b[i]}, 2);
  return std::sqrt(sum / static_cast<double>(a.size()));
}

// The plain 4-bit quantizer of 32 values by their minimum and maximum, its scale and offset unrounded: what
// Q4_K's search must beat although its scales have 6 bits.
std::vector<float> min_max_round_trip(std::span<const float> values) {
  std::vector<float> result(values.size());
  for (size_t begin = 0; begin < values.size(); begin += 32) {
    const auto block = values.subspan(begin, 32);
    const float low = std::min(0.0f, *std::ranges::min_element(block));
    const float step = (*std::ranges::max_element(block) - low) / 15;
    for (size_t i = 0; i < 32; ++i) result[begin + i] = low + step * std::round((block[i] - low) / step);
  }
  return result;
}

// Likewise for Q6_K: 16 values by their extreme.
std::vector<float> extreme_round_trip(std::span<const float> values) {
  std::vector<float> result(values.size());
  for (size_t begin = 0; begin < values.size(); begin += 16) {
    const auto block = values.subspan(begin, 16);
    const float step = *std::ranges::max_element(block, {}, [](float v) { return std::abs(v); }) / -32;
    for (size_t i = 0; i < 16; ++i)
      result[begin + i] = step * std::clamp(std::round(block[i] / step), -32.0f, 31.0f);
  }
  return result;
}

TEST(Quantize, KFormatsBeatThePlainQuantizers) {
  for (const float deviation : {0.02f, 1.0f, 1e4f}) {
    const std::vector<float> values = normal_values(64 * 256, deviation);
    EXPECT_LT(rms_error(values, round_trip(DType::kQ4_K, values)),
              0.97 * rms_error(values, min_max_round_trip(values)));
    EXPECT_LT(rms_error(values, round_trip(DType::kQ6_K, values)),
              1.0 * rms_error(values, extreme_round_trip(values)));
    EXPECT_LT(rms_error(values, round_trip(DType::kQ4_K, values)), 0.075 * double{deviation});
    EXPECT_LT(rms_error(values, round_trip(DType::kQ6_K, values)), 0.021 * double{deviation});
  }
}

TEST(Quantize, QuantizedValuesSurviveASecondTime) {
  for (const DType type :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kQ4_0, DType::kQ5_0, DType::kQ8_0}) {
    const std::vector<float> once = round_trip(type, normal_values(1024, 0.5f));
    const double tolerance = type == DType::kQ8_0 ? 1e-4 : 0;  // its scale is rounded before and after
    EXPECT_LE(rms_error(once, round_trip(type, once)), tolerance) << dtype_info(type).name;
  }
}

TEST(Quantize, ConstantTinyAndZeroBlocks) {
  for (const DType type : kAllTypes) {
    SCOPED_TRACE(dtype_info(type).name);
    for (const float value : {0.0f, -0.0f, 1.0f, -1.0f, 1e-30f, -1e-44f, 60000.0f, -60000.0f}) {
      const std::vector<float> values(256, value);
      for (const float result : round_trip(type, values))
        ASSERT_NEAR(result, value, std::abs(value) / 60 + 1e-7f) << value;
    }
    std::vector<float> mixed(256, 0.0f);
    mixed[17] = -1e-40f;
    mixed[100] = 3.0f;
    for (const float result : round_trip(type, mixed)) ASSERT_TRUE(std::isfinite(result));
  }
}

TEST(Quantize, RefusesWhatWouldBecomeInfinite) {
  for (const DType type : kAllTypes) {
    SCOPED_TRACE(dtype_info(type).name);
    for (const float bad : {INFINITY, -INFINITY, NAN}) {
      std::vector<float> values(256, 1.0f);
      values[200] = bad;
      EXPECT_NE(error_of([&] { quantized(type, values); }).find("element 200 is"), std::string::npos);
    }
    if (type == DType::kF32) continue;
    std::vector<float> values(256, 1.0f);
    values[200] = 3.4028235e38f;
    values[201] = -3.4028235e38f;
    EXPECT_NE(error_of([&] { quantized(type, values); }).find("is too large for the type"),
              std::string::npos);
  }
}

TEST(Quantize, RefusesSizesThatDoNotMatch) {
  std::vector<float> values(256);
  std::vector<std::byte> bytes(256 / 32 * 18 - 1);
  EXPECT_EQ(error_of([&] { quantize(DType::kQ4_0, values, bytes); }),
            "Q4_0: 256 elements do not match 143 bytes");
  EXPECT_EQ(error_of([&] { dequantize(DType::kQ4_0, bytes, values); }),
            "Q4_0: 256 elements do not match 143 bytes");
  values.resize(16);
  bytes.resize(9);
  EXPECT_EQ(error_of([&] { dequantize(DType::kQ4_0, bytes, values); }),
            "Q4_0: 16 elements do not match 9 bytes");
}

// NaN and infinite scales among them: dequantize is total.
TEST(Dequantize, TakesAnyBytes) {
  std::mt19937 random(4);
  for (const DType type : kAllTypes) {
    const DTypeInfo info = dtype_info(type);
    std::vector<std::byte> bytes(size_t{2000} * info.block_bytes);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    std::vector<float> values(size_t{2000} * info.block_elements);
    dequantize(type, bytes, values);
  }
}

}  // namespace
}  // namespace chorus
