#pragma once

// 16 lanes in two registers; see simd_avx512.h.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace chorus {
namespace {

constexpr int kTileRows = 6;    // of half a strip: six dot products, six sums, weights and activations
constexpr int kDecodeRows = 2;  // of a whole strip
constexpr int kDenseRows = 3;   // of half a strip, times four chains
constexpr int kTileQueries = 4, kQuerySums = 4;  // of attention: queries at once, their sums
constexpr int kProductSums = 6, kProductRows = 6, kProductVectors = 1;  // of training: see product_tile()

struct Floats {
  __m256 low, high;
};
struct Ints {
  __m256i low, high;
};

Floats broadcast(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
Floats load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
void store(float* p, Floats x) {
  _mm256_storeu_ps(p, x.low);
  _mm256_storeu_ps(p + 8, x.high);
}
// All bits set in lanes 0..n - 1 of 8.
__m256i first_lanes(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
Floats load_n(const float* p, int n) {
  if (n == 16) return load(p);
  return {_mm256_maskload_ps(p, first_lanes(n)), _mm256_maskload_ps(p + 8, first_lanes(n - 8))};
}
void store_n(float* p, Floats x, int n) {
  if (n == 16) return store(p, x);
  _mm256_maskstore_ps(p, first_lanes(n), x.low);
  _mm256_maskstore_ps(p + 8, first_lanes(n - 8), x.high);
}

Floats load_f16(const void* p) {
  const __m128i* halves = static_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
}
Floats load_int8(const void* p) {
  const __m128i bytes = _mm_loadu_si128(static_cast<const __m128i*>(p));
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
}
void store_f16(uint16_t* p, Floats x) {
  __m128i* halves = reinterpret_cast<__m128i*>(p);
  _mm_storeu_si128(halves, _mm256_cvtps_ph(x.low, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(halves + 1, _mm256_cvtps_ph(x.high, _MM_FROUND_TO_NEAREST_INT));
}

Floats load_bf16(const void* p) {
  const __m128i* halves = static_cast<const __m128i*>(p);
  const __m256i low = _mm256_cvtepu16_epi32(_mm_loadu_si128(halves));
  const __m256i high = _mm256_cvtepu16_epi32(_mm_loadu_si128(halves + 1));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(low, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(high, 16))};
}

Floats add(Floats a, Floats b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
Floats sub(Floats a, Floats b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
Floats mul(Floats a, Floats b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
Floats div(Floats a, Floats b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
Floats fma(Floats a, Floats b, Floats c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
Floats abs(Floats x) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, x.low), _mm256_andnot_ps(sign, x.high)};
}
Floats sqrt(Floats x) { return {_mm256_sqrt_ps(x.low), _mm256_sqrt_ps(x.high)}; }
// The second if either is NaN.
Floats max(Floats a, Floats b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
Floats min(Floats a, Floats b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
Floats select_less(Floats a, Floats b, Floats yes, Floats no) {  // a < b ? yes : no
  return {_mm256_blendv_ps(no.low, yes.low, _mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ)),
          _mm256_blendv_ps(no.high, yes.high, _mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ))};
}
__m256 lanes_between(int begin, int end) {
  return _mm256_castsi256_ps(_mm256_andnot_si256(first_lanes(begin), first_lanes(end)));
}
Floats select_lanes(int begin, int end, Floats yes, Floats no) {  // begin <= lane < end ? yes : no
  return {_mm256_blendv_ps(no.low, yes.low, lanes_between(begin, end)),
          _mm256_blendv_ps(no.high, yes.high, lanes_between(begin - 8, end - 8))};
}
float reduce_add(Floats x) {
  const __m256 eight = _mm256_add_ps(x.low, x.high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
float reduce_max(Floats x) {
  const __m256 eight = _mm256_max_ps(x.low, x.high);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

// 16 floats a0 b0 a1 b1 .. -> 8 of a (want_b: of b).
template <bool kSecond>
__m256 every_second(const float* p) {
  const __m256 low = _mm256_loadu_ps(p), high = _mm256_loadu_ps(p + 8);
  const __m256 mixed = _mm256_shuffle_ps(low, high, kSecond ? 0xDD : 0x88);  // 0 1 8 9 | 4 5 12 13
  return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(mixed), 0xD8));
}
// 32 floats a0 b0 a1 b1 .. -> a and b.
void load_pairs(const float* p, Floats& a, Floats& b) {
  a = {every_second<false>(p), every_second<false>(p + 16)};
  b = {every_second<true>(p), every_second<true>(p + 16)};
}

Ints round_to_int(Floats x) { return {_mm256_cvtps_epi32(x.low), _mm256_cvtps_epi32(x.high)}; }
Floats to_float(Ints x) { return {_mm256_cvtepi32_ps(x.low), _mm256_cvtepi32_ps(x.high)}; }
Ints add(Ints a, Ints b) { return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)}; }
Ints sub(Ints a, Ints b) { return {_mm256_sub_epi32(a.low, b.low), _mm256_sub_epi32(a.high, b.high)}; }
Ints halve(Ints x) { return {_mm256_srai_epi32(x.low, 1), _mm256_srai_epi32(x.high, 1)}; }
int32_t reduce_add(Ints x) {
  const __m256i eight = _mm256_add_epi32(x.low, x.high);
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xB1)));
}
__m256 exp2_of(__m256i n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}
Floats exp2_of(Ints n) { return {exp2_of(n.low), exp2_of(n.high)}; }  // 2^n for n in -126..127
void store_int8(int8_t* p, Ints x) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.low, x.high), 0xD8);
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
}

Ints broadcast_int(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
Ints load_ints(const void* p) {
  const __m256i* halves = static_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(halves), _mm256_loadu_si256(halves + 1)};
}
Ints mul(Ints a, Ints b) { return {_mm256_mullo_epi32(a.low, b.low), _mm256_mullo_epi32(a.high, b.high)}; }
Ints bit_and(Ints a, Ints b) { return {_mm256_and_si256(a.low, b.low), _mm256_and_si256(a.high, b.high)}; }
Ints bit_xor(Ints a, Ints b) { return {_mm256_xor_si256(a.low, b.low), _mm256_xor_si256(a.high, b.high)}; }
Ints shift_left(Ints x, int bits) {
  return {_mm256_slli_epi32(x.low, bits), _mm256_slli_epi32(x.high, bits)};
}
Ints shift_right(Ints x, int bits) {  // zeros in
  return {_mm256_srli_epi32(x.low, bits), _mm256_srli_epi32(x.high, bits)};
}

// One of the four 8 x 8 quarters of a 16 x 16 transposition.
void transpose_eight(__m256 (&x)[8]) {
  __m256 y[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    y[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
    y[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    x[i] = _mm256_shuffle_ps(y[i], y[i + 2], 0x44);
    x[i + 1] = _mm256_shuffle_ps(y[i], y[i + 2], 0xEE);
    x[i + 2] = _mm256_shuffle_ps(y[i + 1], y[i + 3], 0x44);
    x[i + 3] = _mm256_shuffle_ps(y[i + 1], y[i + 3], 0xEE);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    y[j] = _mm256_permute2f128_ps(x[j], x[j + 4], 0x20);
    y[j + 4] = _mm256_permute2f128_ps(x[j], x[j + 4], 0x31);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) x[i] = y[i];
}

// Of 16 x 16 floats: lane j of x[i] and lane i of x[j] change places.
void transpose(Floats (&x)[16]) {
  __m256 quarters[2][2][8];  // of rows, of columns
  for (int i = 0; i < 16; ++i) {
    quarters[i / 8][0][i % 8] = x[i].low;
    quarters[i / 8][1][i % 8] = x[i].high;
  }
  for (int half = 0; half < 2; ++half) {
    transpose_eight(quarters[half][0]);
    transpose_eight(quarters[half][1]);
  }
  for (int i = 0; i < 16; ++i) x[i] = {quarters[0][i / 8][i % 8], quarters[1][i / 8][i % 8]};
}

// For tiles of 8 lanes.
__m256i load_bytes(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
__m256i low_nibbles(__m256i x) { return _mm256_and_si256(x, _mm256_set1_epi8(15)); }
__m256i high_nibbles(__m256i x) { return low_nibbles(_mm256_srli_epi16(x, 4)); }
__m256i broadcast4(const int8_t* p) {  // 4 bytes to each dword
  int32_t quad = 0;
  __builtin_memcpy(&quad, p, 4);
  return _mm256_set1_epi32(quad);
}
__m256 broadcast_eight(float x) { return _mm256_set1_ps(x); }
__m256i broadcast_eight(int32_t x) { return _mm256_set1_epi32(x); }
__m256 load_eight(const float* p) { return _mm256_loadu_ps(p); }
__m256 load_eight_bf16(const void* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
__m256 load_eight_f16(const void* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}

}  // namespace
}  // namespace chorus
