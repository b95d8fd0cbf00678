#include "formats/quant_blocks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "formats/quant_k.h"

namespace chorus {
namespace {

uint16_t load_u16(const std::byte* bytes) {
  uint16_t value = 0;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

float load_f16(const std::byte* bytes) { return f16_to_f32(load_u16(bytes)); }

int low_nibble(std::byte byte) { return std::to_integer<int>(byte & std::byte{15}); }
int high_nibble(std::byte byte) { return std::to_integer<int>(byte >> 4); }

// Each dequantize_* turns one block into its floats. In the 32-element formats the low nibbles are the first
// 16 elements and the high nibbles the last.

void dequantize_q4_0(const std::byte* block, float* out) {
  const float scale = load_f16(block);
  for (size_t i = 0; i < 16; ++i) {
    out[i] = scale * static_cast<float>(low_nibble(block[2 + i]) - 8);
    out[i + 16] = scale * static_cast<float>(high_nibble(block[2 + i]) - 8);
  }
}

void dequantize_q4_1(const std::byte* block, float* out) {
  const float scale = load_f16(block), minimum = load_f16(block + 2);
  for (size_t i = 0; i < 16; ++i) {
    out[i] = scale * static_cast<float>(low_nibble(block[4 + i])) + minimum;
    out[i + 16] = scale * static_cast<float>(high_nibble(block[4 + i])) + minimum;
  }
}

void dequantize_q5_0(const std::byte* block, float* out) {
  const float scale = load_f16(block);
  uint32_t fifth_bits = 0;
  std::memcpy(&fifth_bits, block + 2, sizeof fifth_bits);
  for (size_t i = 0; i < 32; ++i) {
    const std::byte pair = block[6 + i % 16];
    const int low = i < 16 ? low_nibble(pair) : high_nibble(pair);
    out[i] = scale * static_cast<float>((low | static_cast<int>(fifth_bits >> i & 1) << 4) - 16);
  }
}

void dequantize_q8_0(const std::byte* block, float* out) {
  const float scale = load_f16(block);
  for (size_t i = 0; i < 32; ++i) out[i] = scale * static_cast<float>(static_cast<int8_t>(block[2 + i]));
}

// The 6-bit number j (0-7) of a kind (0: scales, 1: offsets) from Q4_K's 12 bytes; quant_k.cc packs them.
int unpack_scale(const std::byte* packed, size_t kind, size_t j) {
  if (j < 4) return std::to_integer<int>(packed[j + 4 * kind] & std::byte{63});
  const std::byte low = packed[j + 4];
  const int low_bits = kind == 0 ? low_nibble(low) : high_nibble(low);
  return low_bits | std::to_integer<int>(packed[j - 4 + 4 * kind] >> 6) << 4;
}

void dequantize_q4_k(const std::byte* block, float* out) {
  const float scale_unit = load_f16(block), offset_unit = load_f16(block + 2);
  for (size_t j = 0; j < 8; ++j) {
    const float scale = scale_unit * static_cast<float>(unpack_scale(block + 4, 0, j));
    const float offset = offset_unit * static_cast<float>(unpack_scale(block + 4, 1, j));
    for (size_t i = 0; i < 32; ++i) {
      const std::byte pair = block[16 + j / 2 * 32 + i];
      const int q = j % 2 == 0 ? low_nibble(pair) : high_nibble(pair);
      out[32 * j + i] = scale * static_cast<float>(q) - offset;
    }
  }
}

void dequantize_q6_k(const std::byte* block, float* out) {
  const float unit = load_f16(block + 208);
  for (size_t i = 0; i < 256; ++i) {
    const size_t half = i / 128, quarter = i % 128 / 32;
    const std::byte pair = block[64 * half + i % 64];
    const int low = quarter < 2 ? low_nibble(pair) : high_nibble(pair);
    const int high = std::to_integer<int>(block[128 + 32 * half + i % 32] >> (2 * quarter) & std::byte{3});
    const float scale = unit * static_cast<float>(static_cast<int8_t>(block[192 + i / 16]));
    out[i] = scale * static_cast<float>((low | high << 4) - 32);
  }
}

void dequantize_block(DType type, const std::byte* block, float* out) {
  switch (type) {
    case DType::kF32:
      std::memcpy(out, block, sizeof(float));
      return;
    case DType::kF16:
      *out = load_f16(block);
      return;
    case DType::kBF16:
      *out = bf16_to_f32(load_u16(block));
      return;
    case DType::kQ4_0:
      return dequantize_q4_0(block, out);
    case DType::kQ4_1:
      return dequantize_q4_1(block, out);
    case DType::kQ5_0:
      return dequantize_q5_0(block, out);
    case DType::kQ8_0:
      return dequantize_q8_0(block, out);
    case DType::kQ4_K:
      return dequantize_q4_k(block, out);
    case DType::kQ6_K:
      return dequantize_q6_k(block, out);
  }
}

// Each quantize_* turns one block of finite floats into bytes, in GGML's order of operations
// (quantize_row_*_ref in ggml-quants.c), and returns false where a scale or value overflows its 16 bits.

bool store_f16(float value, std::byte* out) {
  const uint16_t half = f32_to_f16(value);
  std::memcpy(out, &half, sizeof half);
  return (half & 0x7C00) != 0x7C00;
}

bool store_bf16(float value, std::byte* out) {
  const uint16_t bits = f32_to_bf16(value);
  std::memcpy(out, &bits, sizeof bits);
  return (bits & 0x7F80) != 0x7F80;
}

// A scale so small that its inverse overflows is stored as 0 anyway.
float inverse(float scale) {
  const float result = scale != 0 ? 1.0f / scale : 0.0f;
  return std::isfinite(result) ? result : 0.0f;
}

// The value of largest magnitude, with its sign; of equals the first.
float extreme(std::span<const float, 32> x) {
  float magnitude = 0, result = 0;
  for (const float value : x) {
    if (std::abs(value) > magnitude) {
      magnitude = std::abs(value);
      result = value;
    }
  }
  return result;
}

std::byte pack_nibbles(int low, int high) { return static_cast<std::byte>((low & 15) | (high & 15) << 4); }

bool quantize_q4_0(std::span<const float, 32> x, std::byte* out) {
  const float scale = extreme(x) / -8, steps_per_unit = inverse(scale);
  const auto step = [&](size_t i) { return std::min(15, static_cast<int>(x[i] * steps_per_unit + 8.5f)); };
  for (size_t i = 0; i < 16; ++i) out[2 + i] = pack_nibbles(step(i), step(i + 16));
  return store_f16(scale, out);
}

bool quantize_q4_1(std::span<const float, 32> x, std::byte* out) {
  const float minimum = *std::ranges::min_element(x), range = *std::ranges::max_element(x) - minimum;
  if (!std::isfinite(range)) return false;
  const float scale = range / 15, steps_per_unit = inverse(scale);
  const auto step = [&](size_t i) {
    return std::min(15, static_cast<int>((x[i] - minimum) * steps_per_unit + 0.5f));
  };
  for (size_t i = 0; i < 16; ++i) out[4 + i] = pack_nibbles(step(i), step(i + 16));
  return store_f16(scale, out) && store_f16(minimum, out + 2);
}

bool quantize_q5_0(std::span<const float, 32> x, std::byte* out) {
  const float scale = extreme(x) / -16, steps_per_unit = inverse(scale);
  uint32_t fifth_bits = 0;
  const auto step = [&](size_t i) {
    const int q = std::min(31, static_cast<int>(x[i] * steps_per_unit + 16.5f));
    fifth_bits |= static_cast<uint32_t>(q >> 4) << i;
    return q;
  };
  for (size_t i = 0; i < 16; ++i) out[6 + i] = pack_nibbles(step(i), step(i + 16));
  std::memcpy(out + 2, &fifth_bits, sizeof fifth_bits);
  return store_f16(scale, out);
}

bool quantize_q8_0(std::span<const float, 32> x, std::byte* out) {
  const float scale = std::abs(extreme(x)) / 127, steps_per_unit = inverse(scale);
  for (size_t i = 0; i < 32; ++i)
    out[2 + i] = static_cast<std::byte>(static_cast<int>(std::round(x[i] * steps_per_unit)));
  return store_f16(scale, out);
}

bool quantize_block(DType type, const float* x, std::byte* out) {
  const auto block = [&] { return std::span<const float, 32>(x, 32); };
  const auto super_block = [&] { return std::span<const float, 256>(x, 256); };
  switch (type) {
    case DType::kF32:
      std::memcpy(out, x, sizeof(float));
      return true;
    case DType::kF16:
      return store_f16(*x, out);
    case DType::kBF16:
      return store_bf16(*x, out);
    case DType::kQ4_0:
      return quantize_q4_0(block(), out);
    case DType::kQ4_1:
      return quantize_q4_1(block(), out);
    case DType::kQ5_0:
      return quantize_q5_0(block(), out);
    case DType::kQ8_0:
      return quantize_q8_0(block(), out);
    case DType::kQ4_K:
      return quantize_q4_k(super_block(), std::span<std::byte, 144>(out, 144));
    case DType::kQ6_K:
      return quantize_q6_k(super_block(), std::span<std::byte, 210>(out, 210));
  }
  return false;
}

void check_sizes(DTypeInfo info, size_t elements, size_t bytes) {
  if (elements % info.block_elements != 0 || bytes % info.block_bytes != 0 ||
      bytes / info.block_bytes != elements / info.block_elements)
    fail("{}: {} elements do not match {} bytes", info.name, elements, bytes);
}

}  // namespace

void dequantize(DType type, std::span<const std::byte> data, std::span<float> out) {
  const DTypeInfo info = dtype_info(type);
  check_sizes(info, out.size(), data.size());
  for (size_t i = 0; i < out.size() / info.block_elements; ++i)
    dequantize_block(type, data.data() + i * info.block_bytes, out.data() + i * info.block_elements);
}

void quantize(DType type, std::span<const float> values, std::span<std::byte> out) {
  const DTypeInfo info = dtype_info(type);
  check_sizes(info, values.size(), out.size());
  for (size_t i = 0; i < values.size(); ++i)
    if (!std::isfinite(values[i])) fail("{}: element {} is {}; must be finite", info.name, i, values[i]);
  for (size_t i = 0; i < values.size() / info.block_elements; ++i) {
    if (!quantize_block(type, values.data() + i * info.block_elements, out.data() + i * info.block_bytes))
      fail("{}: a value of elements {} to {} is too large for the type", info.name, i * info.block_elements,
           (i + 1) * info.block_elements - 1);
  }
}

}  // namespace chorus
