#pragma once

// 16 lanes as plain arrays, for any processor; the compiler makes vectors of them where it can. See
// simd_avx512.h. No fused multiply-add: without an instruction it would be a slow library call.

#include <cstddef>
#include <cstdint>

namespace chorus {
namespace {

constexpr int kTileStrips = 1, kTileRows = 4;
constexpr int kDecodeRows = 4;
constexpr int kDenseRows = 1;

struct Floats {
  float lanes[16];
};
struct Ints {
  int32_t lanes[16];
};
struct Bytes {
  uint8_t lanes[64];
};

template <typename F>
Floats make_floats(F f) {
  Floats x;
  for (int i = 0; i < 16; ++i) x.lanes[i] = f(i);
  return x;
}
template <typename F>
Ints make_ints(F f) {
  Ints x;
  for (int i = 0; i < 16; ++i) x.lanes[i] = f(i);
  return x;
}

Floats broadcast(float x) {
  return make_floats([&](int) { return x; });
}
Floats load(const float* p) {
  return make_floats([&](int i) { return p[i]; });
}
Floats load_n(const float* p, int n) {
  return make_floats([&](int i) { return i < n ? p[i] : 0; });
}
void store(float* p, Floats x) {
  for (int i = 0; i < 16; ++i) p[i] = x.lanes[i];
}
void store_n(float* p, Floats x, int n) {
  for (int i = 0; i < n; ++i) p[i] = x.lanes[i];
}

float float_of(uint32_t bits) { return __builtin_bit_cast(float, bits); }
uint32_t bits_of(float x) { return __builtin_bit_cast(uint32_t, x); }

// Without branches, so that it is done in vectors: moving the exponent's bias is a multiplication, exact for
// subnormals too.
float from_f16(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(half & 0x7FFF) << 13;
  const float value = float_of(magnitude) * 0x1p112f;
  const uint32_t infinity_or_nan = magnitude >= 0x0F800000 ? 0x7F800000 : 0;
  return float_of(bits_of(value) | infinity_or_nan | sign);
}
uint16_t to_f16(float x) {
  const uint32_t magnitude = bits_of(x) & 0x7FFFFFFF, sign = bits_of(x) >> 16 & 0x8000;
  const uint32_t subnormal = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
  const uint32_t normal = (magnitude - 0x38000000 + 0xFFF + (magnitude >> 13 & 1)) >> 13;
  const uint32_t finite = magnitude < 0x38800000 ? subnormal : normal;
  const uint32_t large = magnitude > 0x7F800000 ? 0x7E00 : 0x7C00;
  return static_cast<uint16_t>(sign | (magnitude >= 0x477FF000 ? large : finite));
}

Floats load_f16(const void* p) {
  uint16_t halves[16];
  __builtin_memcpy(halves, p, sizeof halves);
  return make_floats([&](int i) { return from_f16(halves[i]); });
}
Floats load_bf16(const void* p) {
  uint16_t halves[16];
  __builtin_memcpy(halves, p, sizeof halves);
  return make_floats([&](int i) { return float_of(static_cast<uint32_t>(halves[i]) << 16); });
}
void store_f16(uint16_t* p, Floats x) {
  for (int i = 0; i < 16; ++i) p[i] = to_f16(x.lanes[i]);
}

Floats add(Floats a, Floats b) {
  return make_floats([&](int i) { return a.lanes[i] + b.lanes[i]; });
}
Floats sub(Floats a, Floats b) {
  return make_floats([&](int i) { return a.lanes[i] - b.lanes[i]; });
}
Floats mul(Floats a, Floats b) {
  return make_floats([&](int i) { return a.lanes[i] * b.lanes[i]; });
}
Floats div(Floats a, Floats b) {
  return make_floats([&](int i) { return a.lanes[i] / b.lanes[i]; });
}
Floats fma(Floats a, Floats b, Floats c) {
  return make_floats([&](int i) { return a.lanes[i] * b.lanes[i] + c.lanes[i]; });
}
Floats abs(Floats x) {
  return make_floats([&](int i) { return float_of(bits_of(x.lanes[i]) & 0x7FFFFFFF); });
}
Floats sqrt(Floats x) {
  return make_floats([&](int i) { return __builtin_sqrtf(x.lanes[i]); });
}
// The second if either is NaN.
Floats max(Floats a, Floats b) {
  return make_floats([&](int i) { return a.lanes[i] > b.lanes[i] ? a.lanes[i] : b.lanes[i]; });
}
Floats min(Floats a, Floats b) {
  return make_floats([&](int i) { return a.lanes[i] < b.lanes[i] ? a.lanes[i] : b.lanes[i]; });
}
Floats select_less(Floats a, Floats b, Floats yes, Floats no) {  // a < b ? yes : no
  return make_floats([&](int i) { return a.lanes[i] < b.lanes[i] ? yes.lanes[i] : no.lanes[i]; });
}
Floats select_lanes(int begin, int end, Floats yes, Floats no) {  // begin <= lane < end ? yes : no
  return make_floats([&](int i) { return i >= begin && i < end ? yes.lanes[i] : no.lanes[i]; });
}
float reduce_add(Floats x) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) x.lanes[i] += x.lanes[i + half];
  }
  return x.lanes[0];
}
float reduce_max(Floats x) {
  float largest = x.lanes[0];
  for (int i = 1; i < 16; ++i) largest = x.lanes[i] > largest ? x.lanes[i] : largest;
  return largest;
}

// 32 floats a0 b0 a1 b1 .. -> a and b.
void load_pairs(const float* p, Floats& a, Floats& b) {
  a = make_floats([&](int i) { return p[2 * i]; });
  b = make_floats([&](int i) { return p[2 * i + 1]; });
}

Ints broadcast_int(int32_t x) {
  return make_ints([&](int) { return x; });
}
// To nearest even, for |x| < 2^22: adding 1.5 * 2^23 leaves the integer in the low bits.
Ints round_to_int(Floats x) {
  constexpr float kShift = 12582912.0f;
  return make_ints(
      [&](int i) { return static_cast<int32_t>(bits_of(x.lanes[i] + kShift) - bits_of(kShift)); });
}
Floats to_float(Ints x) {
  return make_floats([&](int i) { return static_cast<float>(x.lanes[i]); });
}
Ints add(Ints a, Ints b) {
  return make_ints([&](int i) { return a.lanes[i] + b.lanes[i]; });
}
Ints sub(Ints a, Ints b) {
  return make_ints([&](int i) { return a.lanes[i] - b.lanes[i]; });
}
Ints halve(Ints x) {
  return make_ints([&](int i) { return x.lanes[i] >> 1; });
}
int32_t reduce_add(Ints x) {
  int32_t sum = 0;
  for (int i = 0; i < 16; ++i) sum += x.lanes[i];
  return sum;
}
Floats exp2_of(Ints n) {  // 2^n for n in -126..127
  return make_floats([&](int i) { return float_of(static_cast<uint32_t>(n.lanes[i] + 127) << 23); });
}
void store_int8(int8_t* p, Ints x) {
  for (int i = 0; i < 16; ++i) p[i] = static_cast<int8_t>(x.lanes[i]);
}

Bytes load_bytes(const std::byte* p) {
  Bytes bytes;
  __builtin_memcpy(bytes.lanes, p, 64);
  return bytes;
}
Bytes low_nibbles(Bytes x) {
  for (uint8_t& lane : x.lanes) lane &= 15;
  return x;
}
Bytes high_nibbles(Bytes x) {
  for (uint8_t& lane : x.lanes) lane = static_cast<uint8_t>(lane >> 4);
  return x;
}
Bytes broadcast4(const int8_t* p) {  // 4 bytes to each dword
  Bytes bytes;
  for (int i = 0; i < 64; ++i) bytes.lanes[i] = static_cast<uint8_t>(p[i % 4]);
  return bytes;
}

}  // namespace
}  // namespace chorus
