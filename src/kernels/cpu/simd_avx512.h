#pragma once

// 16 lanes in one register. The same names as in simd_avx2.h and simd_portable.h; dot_*.h adds the integer
// dot products.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace chorus {
namespace {

constexpr int kTileStrips = 2, kTileRows = 6;     // of many rows: the accumulators fill the 32 registers
constexpr int kDecodeRows = 8;                    // of few rows, one strip at a time: a pure stream
constexpr int kDenseRows = 6;                     // times four chains
constexpr int kTileQueries = 8, kQuerySums = 16;  // of attention: queries at once, their sums
constexpr int kProductSums = 24, kProductRows = 12, kProductVectors = 3;  // of training: see product_tile()

using Floats = __m512;
using Ints = __m512i;
using Bytes = __m512i;

__mmask16 first_lanes(int n) { return static_cast<__mmask16>((1u << n) - 1); }

Floats broadcast(float x) { return _mm512_set1_ps(x); }
Floats load(const float* p) { return _mm512_loadu_ps(p); }
void store(float* p, Floats x) { _mm512_storeu_ps(p, x); }
// What a masked store has written can only be read after it has left for the cache: whole vectors go without.
Floats load_n(const float* p, int n) { return n == 16 ? load(p) : _mm512_maskz_loadu_ps(first_lanes(n), p); }
void store_n(float* p, Floats x, int n) {
  n == 16 ? store(p, x) : _mm512_mask_storeu_ps(p, first_lanes(n), x);
}

Floats load_f16(const void* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p))); }
Floats load_bf16(const void* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
Floats load_int8(const void* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))));
}
void store_f16(uint16_t* p, Floats x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}

Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
Floats div(Floats a, Floats b) { return _mm512_div_ps(a, b); }
Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }  // a b + c
Floats abs(Floats x) { return _mm512_abs_ps(x); }
Floats sqrt(Floats x) { return _mm512_sqrt_ps(x); }
// The second if either is NaN.
Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
Floats min(Floats a, Floats b) { return _mm512_min_ps(a, b); }
Floats select_less(Floats a, Floats b, Floats yes, Floats no) {  // a < b ? yes : no
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
Floats select_lanes(int begin, int end, Floats yes, Floats no) {  // begin <= lane < end ? yes : no
  const auto mask = static_cast<__mmask16>(first_lanes(end) & ~first_lanes(begin));
  return _mm512_mask_blend_ps(mask, no, yes);
}
float reduce_add(Floats x) { return _mm512_reduce_add_ps(x); }
float reduce_max(Floats x) { return _mm512_reduce_max_ps(x); }

// 32 floats a0 b0 a1 b1 .. -> a and b.
void load_pairs(const float* p, Floats& a, Floats& b) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512 low = load(p), high = load(p + 16);
  a = _mm512_permutex2var_ps(low, even, high);
  b = _mm512_permutex2var_ps(low, _mm512_add_epi32(even, _mm512_set1_epi32(1)), high);
}

Ints broadcast_int(int32_t x) { return _mm512_set1_epi32(x); }
Ints round_to_int(Floats x) { return _mm512_cvtps_epi32(x); }  // to nearest even
Floats to_float(Ints x) { return _mm512_cvtepi32_ps(x); }
int32_t reduce_add(Ints x) { return _mm512_reduce_add_epi32(x); }
Ints add(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
Ints halve(Ints x) { return _mm512_srai_epi32(x, 1); }  // rounds down
Ints sub(Ints a, Ints b) { return _mm512_sub_epi32(a, b); }
Floats exp2_of(Ints n) {  // 2^n for n in -126..127
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23));
}
void store_int8(int8_t* p, Ints x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(x));
}

Ints load_ints(const void* p) { return _mm512_loadu_si512(p); }
Ints mul(Ints a, Ints b) { return _mm512_mullo_epi32(a, b); }
Ints bit_and(Ints a, Ints b) { return _mm512_and_si512(a, b); }
Ints bit_xor(Ints a, Ints b) { return _mm512_xor_si512(a, b); }
Ints shift_left(Ints x, int bits) { return _mm512_slli_epi32(x, static_cast<unsigned>(bits)); }
Ints shift_right(Ints x, int bits) { return _mm512_srli_epi32(x, static_cast<unsigned>(bits)); }  // zeros in

// Of 16 x 16 floats: lane j of x[i] and lane i of x[j] change places.
void transpose(Floats (&x)[16]) {
  __m512 y[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    y[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {  // x[i + j]: column 4 l + j of the rows i..i + 3 in 128-bit lane l
    x[i] = _mm512_shuffle_ps(y[i], y[i + 2], 0x44);
    x[i + 1] = _mm512_shuffle_ps(y[i], y[i + 2], 0xEE);
    x[i + 2] = _mm512_shuffle_ps(y[i + 1], y[i + 3], 0x44);
    x[i + 3] = _mm512_shuffle_ps(y[i + 1], y[i + 3], 0xEE);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512 low = _mm512_shuffle_f32x4(x[j], x[j + 4], 0x88);  // lanes 0 and 2 of both
    const __m512 low_odd = _mm512_shuffle_f32x4(x[j], x[j + 4], 0xDD);
    const __m512 high = _mm512_shuffle_f32x4(x[j + 8], x[j + 12], 0x88);
    const __m512 high_odd = _mm512_shuffle_f32x4(x[j + 8], x[j + 12], 0xDD);
    y[j] = _mm512_shuffle_f32x4(low, high, 0x88);
    y[j + 4] = _mm512_shuffle_f32x4(low_odd, high_odd, 0x88);
    y[j + 8] = _mm512_shuffle_f32x4(low, high, 0xDD);
    y[j + 12] = _mm512_shuffle_f32x4(low_odd, high_odd, 0xDD);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) x[i] = y[i];
}

Bytes load_bytes(const std::byte* p) { return _mm512_loadu_si512(p); }
Bytes low_nibbles(Bytes x) { return _mm512_and_si512(x, _mm512_set1_epi8(15)); }
Bytes high_nibbles(Bytes x) { return low_nibbles(_mm512_srli_epi16(x, 4)); }
Bytes broadcast4(const int8_t* p) {  // 4 bytes to each dword
  int32_t quad = 0;
  __builtin_memcpy(&quad, p, 4);
  return _mm512_set1_epi32(quad);
}

}  // namespace
}  // namespace chorus
