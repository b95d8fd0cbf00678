#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace chorus {

// Element types of tensors in files. The block types are GGML's (32 or 256 elements a block).
enum class DType : uint8_t { kF32, kF16, kBF16, kQ4_0, kQ4_1, kQ5_0, kQ8_0, kQ4_K, kQ6_K };

struct DTypeInfo {
  std::string_view name;    // as GGML writes it: "Q4_1"
  uint32_t block_elements;  // 1 for the plain types
  uint32_t block_bytes;
};

constexpr DTypeInfo dtype_info(DType type) {
  constexpr DTypeInfo kInfo[] = {{"F32", 1, 4},    {"F16", 1, 2},      {"BF16", 1, 2},
                                 {"Q4_0", 32, 18}, {"Q4_1", 32, 20},   {"Q5_0", 32, 22},
                                 {"Q8_0", 32, 34}, {"Q4_K", 256, 144}, {"Q6_K", 256, 210}};
  return kInfo[static_cast<size_t>(type)];
}

// 16-bit floats as bits. f32_to_* round to nearest even.
float f16_to_f32(uint16_t bits);
uint16_t f32_to_f16(float value);
uint16_t f32_to_bf16(float value);
inline float bf16_to_f32(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value = 0;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

}  // namespace chorus
