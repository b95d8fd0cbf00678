#pragma once

// Ops on single rows; included after a simd header and math-inl.h. All sums over a row run in 4 x 16 lanes.

#include "kernels/cpu/leaves.h"
#include "kernels/cpu/math-inl.h"

namespace chorus {
namespace {

constexpr int kLanes = 16;
constexpr float kLeastGroup = 1e-36f;  // 127 / it is finite; a group below counts as zero

int lanes_left(int64_t left) { return left < kLanes ? static_cast<int>(left) : kLanes; }

// In -127..127 whatever x is: NaN, which max and min drop as their first argument, becomes -127.
Ints to_quants(Floats x, float inverse) {
  const Floats scaled = mul(x, broadcast(inverse));
  return round_to_int(min(max(scaled, broadcast(-127)), broadcast(127)));
}

// What 16 quants lost, in steps of scale / kRestSteps: less than 127.5 of them.
Ints store_rest(int8_t* out, Floats x, float inverse, Ints quants) {
  const Floats lost = sub(mul(x, broadcast(inverse)), to_float(quants));
  const Ints rest = to_quants(lost, kRestSteps);
  store_int8(out, rest);
  return rest;
}

void quantize(const float* x, int cols, int groups, const QuantizedRows& out) {
  for (int g = 0; g < groups; ++g) {
    const int begin = g * kGroupCols;
    const int left = cols - begin;
    const Floats low = left > 0 ? load_n(x + begin, lanes_left(left)) : broadcast(0);
    const Floats high = left > kLanes ? load_n(x + begin + kLanes, lanes_left(left - kLanes)) : broadcast(0);
    const float largest = reduce_max(max(abs(low), abs(high)));
    const float inverse = largest > kLeastGroup ? 127 / largest : 0;
    const Ints q_low = to_quants(low, inverse);
    const Ints q_high = to_quants(high, inverse);
    store_int8(out.quants + begin, q_low);
    store_int8(out.quants + begin + kLanes, q_high);
    out.scales[g] = largest / 127;
    const int32_t sum = reduce_add(add(q_low, q_high));
    out.starts[g] = kStartPerQuant * sum;
    out.sums[g] = out.scales[g] * static_cast<float>(sum);
    if (out.rest == nullptr) continue;
    const Ints rest_low = store_rest(out.rest + begin, low, inverse, q_low);
    const Ints rest_high = store_rest(out.rest + begin + kLanes, high, inverse, q_high);
    const int32_t rest_sum = reduce_add(add(rest_low, rest_high));
    out.rest_starts[g] = kStartPerQuant * rest_sum;
    out.fine_sums[g] = out.scales[g] * (static_cast<float>(sum) + static_cast<float>(rest_sum) * kRestStep);
  }
}

void rms_norm(const float* x, const float* weight, int cols, float eps, bool accumulate, float* y) {
  Floats sums[4] = {broadcast(0), broadcast(0), broadcast(0), broadcast(0)};
  for (int i = 0; i < cols; i += kLanes) {
    const Floats value = load_n(x + i, lanes_left(cols - i));
    Floats& sum = sums[i / kLanes % 4];
    sum = fma(value, value, sum);
  }
  const float mean = reduce_add(add(add(sums[0], sums[1]), add(sums[2], sums[3]))) / static_cast<float>(cols);
  const Floats inverse = div(broadcast(1), sqrt(broadcast(mean + eps)));
  for (int i = 0; i < cols; i += kLanes) {
    const int lanes = lanes_left(cols - i);
    const Floats value = mul(mul(load_n(x + i, lanes), inverse), load_n(weight + i, lanes));
    store_n(y + i, accumulate ? add(load_n(y + i, lanes), value) : value, lanes);
  }
}

Floats silu(Floats x) { return div(x, add(broadcast(1), exp(sub(broadcast(0), x)))); }

Floats gelu_tanh(Floats x) {
  const Floats cube = mul(mul(x, x), x);
  const Floats inner = mul(broadcast(0.7978845608028654f), fma(broadcast(0.044715f), cube, x));
  return mul(mul(broadcast(0.5f), x), add(broadcast(1), tanh(inner)));
}

void gated_act(const float* gate, const float* up, int cols, Activation activation, float* y) {
  for (int i = 0; i < cols; i += kLanes) {
    const int lanes = lanes_left(cols - i);
    const Floats x = load_n(gate + i, lanes);
    const Floats activated = activation == Activation::kSilu ? silu(x) : gelu_tanh(x);
    store_n(y + i, mul(activated, load_n(up + i, lanes)), lanes);
  }
}

// cos and sin of a head's pairs i.. in lanes.
void load_angles(const float* table, int i, int lanes, Floats& cos, Floats& sin) {
  if (lanes == kLanes) return load_pairs(table + 2 * i, cos, sin);
  float padded[2 * kLanes] = {};
  for (int j = 0; j < 2 * lanes; ++j) padded[j] = table[2 * i + j];
  load_pairs(padded, cos, sin);
}

void prepare_head(const float* x, const float* norm, float eps, const float* table, int dim, float* y) {
  if (norm != nullptr) {
    rms_norm(x, norm, dim, eps, false, y);
    x = y;
  }
  const int half = dim / 2;
  for (int i = 0; i < half; i += kLanes) {
    const int lanes = lanes_left(half - i);
    Floats cos, sin;
    load_angles(table, i, lanes, cos, sin);
    const Floats a = load_n(x + i, lanes), b = load_n(x + half + i, lanes);
    store_n(y + i, sub(mul(a, cos), mul(b, sin)), lanes);
    store_n(y + half + i, fma(b, cos, mul(a, sin)), lanes);
  }
}

// K goes down a column of its page, V along a row.
template <typename T>
void put_column(const T* k, int begin, T* page, int position) {
  for (int j = 0; j < kLanes; ++j) page[(begin + j) * kPagePositions + position] = k[j];
}

template <typename T>
T* in_page(std::byte* page, int64_t offset) {
  return reinterpret_cast<T*>(page + offset);
}

// Where the parts of a page of kI8 begin, in bytes; K's quants are first.
struct Int8Page {
  int v, k_scales, k_middles, v_scales, v_middles;
};
Int8Page int8_page(int dim) {
  const int quants = kPagePositions * dim, scales = (dim + kKvGroup - 1) / kKvGroup * 2 * kPagePositions;
  const int k_scales = 2 * quants, v_scales = k_scales + 2 * scales;
  return {quants, k_scales, k_scales + scales, v_scales, v_scales + 2 * kPagePositions};
}

// Quantizes x[0..count) to -128..127 around the middle of its range; writes scale and middle as they are
// kept.
void quantize_range(const float* x, int count, int8_t* quants, uint16_t* scale, uint16_t* middle) {
  Floats low = load(x), high = low;
  for (int i = kLanes; i < count; i += kLanes) {
    low = min(low, load(x + i));
    high = max(high, load(x + i));
  }
  const float least = -reduce_max(sub(broadcast(0), low));
  uint16_t half[kLanes];
  store_f16(half, broadcast((reduce_max(high) - least) / 255));
  *scale = half[0];
  const Floats kept = load_f16(half);
  store_f16(half, fma(kept, broadcast(128), broadcast(least)));
  *middle = half[0];
  const Floats center = load_f16(half);
  float step[kLanes];
  store(step, kept);
  const Floats inverse = broadcast(step[0] > 0 ? 1 / step[0] : 0);
  for (int i = 0; i < count; i += kLanes) {
    const Floats scaled = mul(sub(load(x + i), center), inverse);
    store_int8(quants + i, round_to_int(min(max(scaled, broadcast(-128)), broadcast(127))));
  }
}

void store_int8_kv(const float* k, const float* v, int dim, std::byte* page, int position) {
  const Int8Page at = int8_page(dim);
  for (int d = 0, g = position; d < dim; d += kKvGroup, g += kPagePositions) {
    const int count = dim - d < kKvGroup ? dim - d : kKvGroup;
    int8_t quants[kKvGroup];
    quantize_range(k + d, count, quants, in_page<uint16_t>(page, at.k_scales) + g,
                   in_page<uint16_t>(page, at.k_middles) + g);
    for (int i = 0; i < count; i += kLanes) put_column(quants + i, d + i, in_page<int8_t>(page, 0), position);
  }
  quantize_range(v, dim, in_page<int8_t>(page, at.v + position * dim),
                 in_page<uint16_t>(page, at.v_scales) + position,
                 in_page<uint16_t>(page, at.v_middles) + position);
}

void store_kv(const float* k, const float* v, int dim, KvType type, std::byte* page, int position) {
  if (type == KvType::kI8) return store_int8_kv(k, v, dim, page, position);
  for (int d = 0; d < dim; d += kLanes) {
    const int v_at = (kPagePositions + position) * dim + d;
    if (type == KvType::kF32) {
      put_column(k + d, d, in_page<float>(page, 0), position);
      store(in_page<float>(page, 0) + v_at, load(v + d));
      continue;
    }
    uint16_t half[kLanes];
    store_f16(half, load(k + d));
    put_column(half, d, in_page<uint16_t>(page, 0), position);
    store_f16(in_page<uint16_t>(page, 0) + v_at, load(v + d));
  }
}

Floats capped(Floats x, float cap) { return mul(broadcast(cap), tanh(div(x, broadcast(cap)))); }

void soft_cap(float* x, int64_t count, float cap) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const int lanes = lanes_left(count - i);
    store_n(x + i, capped(load_n(x + i, lanes), cap), lanes);
  }
}

}  // namespace
}  // namespace chorus
