#pragma once

// 16 lanes as GCC and Clang vectors, which the compiler maps to whatever the processor has; see
// simd_avx512.h. No fused multiply-add: without an instruction it would be a slow library call.

#include <cstddef>
#include <cstdint>

namespace chorus {
namespace {

constexpr int kTileStrips = 1, kTileRows = 1;
constexpr int kDecodeRows = 1;
constexpr int kDenseRows = 1;
constexpr int kTileQueries = 1, kQuerySums = 2;  // of attention: queries at once, their sums
constexpr int kProductSums = 2, kProductRows = 2, kProductVectors = 1;  // of training: see product_tile()

using Floats = float __attribute__((vector_size(64)));
using Ints = int32_t __attribute__((vector_size(64)));
using Bits = uint32_t __attribute__((vector_size(64)));
using Halves = uint16_t __attribute__((vector_size(32)));
using Bytes = uint8_t __attribute__((vector_size(64)));

template <typename Vector>
Vector load_vector(const void* p) {
  Vector x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}

Floats broadcast(float x) { return Floats{} + x; }
Floats load(const float* p) { return load_vector<Floats>(p); }
Floats load_n(const float* p, int n) {
  Floats x = {};
  __builtin_memcpy(&x, p, static_cast<size_t>(n) * sizeof(float));
  return x;
}
void store(float* p, Floats x) { __builtin_memcpy(p, &x, sizeof x); }
void store_n(float* p, Floats x, int n) { __builtin_memcpy(p, &x, static_cast<size_t>(n) * sizeof(float)); }

// Casts between vectors of one size keep the bits.
Floats load_f16(const void* p) {
  const Bits half = __builtin_convertvector(load_vector<Halves>(p), Bits);
  const Bits magnitude = (half & 0x7FFF) << 13;
  // Moving the exponent's bias is a multiplication, exact for subnormals too.
  const Bits value = (Bits)((Floats)magnitude * 0x1p112f);
  const Bits infinite = (Bits)((Ints)magnitude >= 0x0F800000) & 0x7F800000;
  return (Floats)(value | infinite | (half & 0x8000) << 16);
}
Floats load_bf16(const void* p) {
  return (Floats)(__builtin_convertvector(load_vector<Halves>(p), Bits) << 16);
}
Floats load_int8(const void* p) {
  using Quants = int8_t __attribute__((vector_size(16)));
  return __builtin_convertvector(load_vector<Quants>(p), Floats);
}
void store_f16(uint16_t* p, Floats x) {
  const Bits magnitude = (Bits)x & 0x7FFFFFFF, sign = (Bits)x >> 16 & 0x8000;
  const Bits subnormal = (Bits)((Floats)magnitude + 0.5f) - 0x3F000000;
  const Bits normal = (magnitude - 0x38000000 + 0xFFF + (magnitude >> 13 & 1)) >> 13;
  const Bits large = magnitude > 0x7F800000 ? Bits{} + 0x7E00 : Bits{} + 0x7C00;
  const Bits finite = magnitude < 0x38800000 ? subnormal : normal;
  const Bits half = sign | (magnitude >= 0x477FF000 ? large : finite);
  const Halves halves = __builtin_convertvector(half, Halves);
  __builtin_memcpy(p, &halves, sizeof halves);
}

Floats add(Floats a, Floats b) { return a + b; }
Floats sub(Floats a, Floats b) { return a - b; }
Floats mul(Floats a, Floats b) { return a * b; }
Floats div(Floats a, Floats b) { return a / b; }
Floats fma(Floats a, Floats b, Floats c) { return a * b + c; }
Floats abs(Floats x) { return (Floats)((Bits)x & 0x7FFFFFFF); }
Floats sqrt(Floats x) {
  for (int i = 0; i < 16; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
}
// The second if either is NaN.
Floats max(Floats a, Floats b) { return a > b ? a : b; }
Floats min(Floats a, Floats b) { return a < b ? a : b; }
Floats select_less(Floats a, Floats b, Floats yes, Floats no) {  // a < b ? yes : no
  return a < b ? yes : no;
}
Floats select_lanes(int begin, int end, Floats yes, Floats no) {  // begin <= lane < end ? yes : no
  constexpr Ints kLane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return ((kLane >= begin) & (kLane < end)) != 0 ? yes : no;
}
float reduce_add(Floats x) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) x[i] += x[i + half];
  }
  return x[0];
}
float reduce_max(Floats x) {
  float largest = x[0];
  for (int i = 1; i < 16; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

// 32 floats a0 b0 a1 b1 .. -> a and b.
void load_pairs(const float* p, Floats& a, Floats& b) {
  for (int i = 0; i < 16; ++i) {
    a[i] = p[2 * i];
    b[i] = p[2 * i + 1];
  }
}

Ints broadcast_int(int32_t x) { return Ints{} + x; }
// To nearest even, for |x| < 2^22: adding 1.5 * 2^23 leaves the integer in the low bits.
Ints round_to_int(Floats x) { return (Ints)(x + 12582912.0f) - 0x4B400000; }
Floats to_float(Ints x) { return __builtin_convertvector(x, Floats); }
Ints add(Ints a, Ints b) { return (Ints)((Bits)a + (Bits)b); }  // wraps
Ints sub(Ints a, Ints b) { return a - b; }
Ints halve(Ints x) { return x >> 1; }
int32_t reduce_add(Ints x) {
  int32_t sum = 0;
  for (int i = 0; i < 16; ++i) sum += x[i];
  return sum;
}
Floats exp2_of(Ints n) { return (Floats)((n + 127) << 23); }  // 2^n for n in -126..127
void store_int8(int8_t* p, Ints x) {
  for (int i = 0; i < 16; ++i) p[i] = static_cast<int8_t>(x[i]);
}

Ints load_ints(const void* p) { return load_vector<Ints>(p); }
Ints mul(Ints a, Ints b) { return (Ints)((Bits)a * (Bits)b); }
Ints bit_and(Ints a, Ints b) { return a & b; }
Ints bit_xor(Ints a, Ints b) { return a ^ b; }
Ints shift_left(Ints x, int bits) { return (Ints)((Bits)x << bits); }
Ints shift_right(Ints x, int bits) { return (Ints)((Bits)x >> bits); }  // zeros in

// Of 16 x 16 floats: lane j of x[i] and lane i of x[j] change places.
void transpose(Floats (&x)[16]) {
  float rows[16][16];
  __builtin_memcpy(rows, x, sizeof rows);
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) x[j][i] = rows[i][j];
  }
}

Bytes load_bytes(const std::byte* p) { return load_vector<Bytes>(p); }
Bytes low_nibbles(Bytes x) { return x & 15; }
Bytes high_nibbles(Bytes x) { return x >> 4; }
Bytes broadcast4(const int8_t* p) {  // 4 bytes to each dword
  int32_t quad = 0;
  __builtin_memcpy(&quad, p, 4);
  return (Bytes)broadcast_int(quad);
}

}  // namespace
}  // namespace chorus
