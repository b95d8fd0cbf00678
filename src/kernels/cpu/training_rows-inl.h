#pragma once

// Training ops on single rows; included after a simd header.

#include "kernels/cpu/elementwise-inl.h"
#include "kernels/cpu/training_leaves.h"
#include "kernels/dropout.h"

namespace chorus {
namespace {

// dropout_hash() in 16 lanes.
Ints hash_columns(Ints columns, uint32_t seed_add, uint32_t seed_flip) {
  const auto constant = [](uint32_t bits) { return broadcast_int(static_cast<int32_t>(bits)); };
  Ints x = bit_xor(add(mul(columns, constant(kColumnStep)), constant(seed_add)), constant(seed_flip));
  x = mul(bit_xor(x, shift_right(x, 16)), constant(kMix1));
  x = mul(bit_xor(x, shift_right(x, 13)), constant(kMix2));
  return bit_xor(x, shift_right(x, 16));
}

void dropout(const float* x, int cols, uint32_t seed_add, uint32_t seed_flip, float p, bool accumulate,
             float* y) {
  constexpr int32_t kFirst[kLanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const Floats scale = broadcast(1 / (1 - p)), none = broadcast(0);
  for (int i = 0; i < cols; i += kLanes) {
    const int lanes = lanes_left(cols - i);
    const Ints hash = hash_columns(add(load_ints(kFirst), broadcast_int(i)), seed_add, seed_flip);
    const Floats chance = mul(to_float(shift_right(hash, 8)), broadcast(0x1p-24f));
    const Floats value = select_less(chance, broadcast(p), none, mul(load_n(x + i, lanes), scale));
    store_n(y + i, accumulate ? add(load_n(y + i, lanes), value) : value, lanes);
  }
}

float dot(const float* x, const float* y, int count) {
  Floats sums[4] = {broadcast(0), broadcast(0), broadcast(0), broadcast(0)};
  for (int i = 0; i < count; i += kLanes) {
    const int lanes = lanes_left(count - i);
    Floats& sum = sums[i / kLanes % 4];
    sum = fma(load_n(x + i, lanes), load_n(y + i, lanes), sum);
  }
  return reduce_add(add(add(sums[0], sums[1]), add(sums[2], sums[3])));
}

void rms_norm_backward(const float* x, const float* dy, const float* weight, int cols, float eps,
                       bool accumulate, float* dx) {
  Floats squares[2] = {broadcast(0), broadcast(0)}, along[2] = {broadcast(0), broadcast(0)};
  for (int i = 0; i < cols; i += kLanes) {
    const int lanes = lanes_left(cols - i), chain = i / kLanes % 2;
    const Floats value = load_n(x + i, lanes);
    squares[chain] = fma(value, value, squares[chain]);
    along[chain] = fma(value, mul(load_n(dy + i, lanes), load_n(weight + i, lanes)), along[chain]);
  }
  const auto count = static_cast<float>(cols);
  const float mean = reduce_add(add(squares[0], squares[1])) / count;
  const Floats inverse = div(broadcast(1), sqrt(broadcast(mean + eps)));
  const Floats back =
      mul(mul(inverse, mul(inverse, inverse)), broadcast(-reduce_add(add(along[0], along[1])) / count));
  for (int i = 0; i < cols; i += kLanes) {
    const int lanes = lanes_left(cols - i);
    const Floats straight = mul(mul(load_n(dy + i, lanes), load_n(weight + i, lanes)), inverse);
    const Floats value = fma(load_n(x + i, lanes), back, straight);
    store_n(dx + i, accumulate ? add(load_n(dx + i, lanes), value) : value, lanes);
  }
}

struct Activated {
  Floats value, slope;
};

Activated silu_with_slope(Floats x) {
  const Floats one = broadcast(1), s = div(one, add(one, exp(sub(broadcast(0), x))));
  return {mul(x, s), mul(s, fma(x, sub(one, s), one))};
}

Activated gelu_with_slope(Floats x) {
  const Floats one = broadcast(1), half = broadcast(0.5f), square = mul(x, x);
  const Floats inner = mul(broadcast(0.7978845608028654f), fma(broadcast(0.044715f), mul(square, x), x));
  const Floats slope = mul(broadcast(0.7978845608028654f), fma(broadcast(3 * 0.044715f), square, one));
  const Floats t = tanh(inner), share = mul(half, add(one, t));
  const Floats bend = mul(mul(half, x), mul(sub(one, mul(t, t)), slope));
  return {mul(x, share), add(share, bend)};
}

void gated_backward(const GatedBackwardArgs& args, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i += kLanes) {
    const int lanes = lanes_left(end - i);
    const Floats gate = load_n(args.gate + i, lanes), up = load_n(args.up + i, lanes);
    const Floats dy = load_n(args.dy + i, lanes);
    const Activated act =
        args.activation == Activation::kSilu ? silu_with_slope(gate) : gelu_with_slope(gate);
    store_n(args.d_gate + i, mul(mul(dy, up), act.slope), lanes);
    store_n(args.d_up + i, mul(dy, act.value), lanes);
  }
}

void prepare_head_backward(const float* x, const float* norm, float eps, const float* rope, int dim,
                           float* dy, float* dx) {
  const int half = dim / 2;
  float* rotated = norm == nullptr ? dx : dy;
  for (int i = 0; i < half; i += kLanes) {
    const int lanes = lanes_left(half - i);
    Floats cos, sin;
    load_angles(rope, i, lanes, cos, sin);
    const Floats a = load_n(dy + i, lanes), b = load_n(dy + half + i, lanes);
    store_n(rotated + i, fma(a, cos, mul(b, sin)), lanes);
    store_n(rotated + half + i, sub(mul(b, cos), mul(a, sin)), lanes);
  }
  if (norm != nullptr) rms_norm_backward(x, dy, norm, dim, eps, false, dx);
}

void transpose_matrix(const float* x, int64_t x_stride, int rows, int cols, bool add, float* y,
                      int64_t y_stride) {
  for (int r = 0; r < rows; r += kLanes) {
    const int height = lanes_left(rows - r);
    for (int c = 0; c < cols; c += kLanes) {
      const int width = lanes_left(cols - c);
      Floats block[kLanes];
      for (int i = 0; i < kLanes; ++i) {
        block[i] = i < height ? load_n(x + (r + i) * x_stride + c, width) : broadcast(0);
      }
      transpose(block);
      for (int j = 0; j < width; ++j) {
        float* to = y + (c + j) * y_stride + r;
        store_n(to, add ? chorus::add(load_n(to, height), block[j]) : block[j], height);
      }
    }
  }
}

// Rows of [rows][cols] floats whose lanes outside begin..end - 1 count as `none`.
Floats load_seen(const float* row, int i, int begin, int end, Floats none) {
  const int from = begin > i ? begin - i : 0, to = end - i < kLanes ? end - i : kLanes;
  if (from == 0 && to == kLanes) return load(row + i);
  if (from >= to || from >= kLanes) return none;
  return select_lanes(from, to, load(row + i), none);
}

// What is less beside the largest, 1, counts as nothing: products with it would be subnormal, and slow.
[[gnu::always_inline]] inline Floats exp_or_none(Floats x) {
  const Floats least = broadcast(0x1p-100f), share = exp(x);
  return select_less(share, least, broadcast(0), share);
}

void softmax_backward(float* products, float* d_weights, int begin, int end, int cols, float scale,
                      float soft_cap, float mean) {
  const Floats none = broadcast(-__builtin_inff()), zero = broadcast(0), one = broadcast(1);
  const int first = begin / kLanes * kLanes;
  for (int i = 0; i < first; i += kLanes) {
    store(products + i, zero);
    store(d_weights + i, zero);
  }
  Floats largest = none;
  for (int i = first; i < end; i += kLanes) {
    Floats score = mul(load(products + i), broadcast(scale)), slope = broadcast(scale);
    if (soft_cap > 0) {
      const Floats t = tanh(div(score, broadcast(soft_cap)));
      score = mul(t, broadcast(soft_cap));
      slope = mul(slope, sub(one, mul(t, t)));
    }
    store(products + i, score);
    store(d_weights + i, mul(slope, sub(load(d_weights + i), broadcast(mean))));
    largest = max(largest, load_seen(products, i, begin, end, none));
  }
  const Floats top = broadcast(reduce_max(largest));
  Floats sum = zero;
  for (int i = first; i < end; i += kLanes) {
    const Floats weight = exp_or_none(sub(load(products + i), top));
    store(products + i, weight);
    const Floats seen = load_seen(products, i, begin, end, zero);
    store(products + i, seen);
    sum = add(sum, seen);
  }
  const Floats share = broadcast(1 / reduce_add(sum));
  for (int i = first; i < end; i += kLanes) {
    const Floats weight = mul(load(products + i), share);
    store(products + i, weight);
    store(d_weights + i, mul(weight, load_seen(d_weights, i, begin, end, zero)));
  }
  for (int i = (end + kLanes - 1) / kLanes * kLanes; i < cols; i += kLanes) {
    store(products + i, zero);
    store(d_weights + i, zero);
  }
}

// `yes` in the first lanes.
Floats keep_first(int lanes, Floats yes, Floats no) {
  return lanes == kLanes ? yes : select_lanes(0, lanes, yes, no);
}

// x = exp(x - top), or left as it is unless `keep`; returns their sum, in double: of a hundred thousand terms
// it shall lose nothing.
double sum_exp(float* x, int count, Floats top, bool keep) {
  constexpr int kBlock = 64 * kLanes;
  double total = 0;
  for (int from = 0; from < count; from += kBlock) {
    const int end = from + kBlock < count ? from + kBlock : count;
    Floats sum = broadcast(0);
    for (int i = from; i < end; i += kLanes) {
      const int lanes = lanes_left(end - i);
      const Floats share = exp_or_none(sub(load_n(x + i, lanes), top));
      sum = add(sum, keep_first(lanes, share, broadcast(0)));
      if (keep) store_n(x + i, share, lanes);
    }
    total += double{reduce_add(sum)};
  }
  return total;
}

void cross_entropy(const CrossEntropyArgs& args, int64_t row) {
  float* logits = args.logits + row * args.vocab;
  const int32_t label = args.labels[row];
  const float label_logit = logits[label];
  Floats largest = broadcast(-__builtin_inff());
  for (int i = 0; i < args.vocab; i += kLanes) {
    const int lanes = lanes_left(args.vocab - i);
    largest = max(largest, keep_first(lanes, load_n(logits + i, lanes), largest));
  }
  const float max = reduce_max(largest);
  const Floats top = broadcast(max);
  const bool capped = args.soft_cap > 0;  // then the logits are needed for its slope
  const double total = sum_exp(logits, args.vocab, top, args.weights != nullptr && !capped);
  args.nll[row] = __builtin_log(total) - (double{label_logit} - double{max});
  if (args.weights == nullptr) return;
  const double weight = double{args.weights[row]};
  const Floats share = broadcast(static_cast<float>(weight / total)), one = broadcast(1);
  const Floats inverse_cap = broadcast(capped ? 1 / args.soft_cap : 0);
  for (int i = 0; i < args.vocab; i += kLanes) {
    const int lanes = lanes_left(args.vocab - i);
    const Floats value = load_n(logits + i, lanes), t = mul(value, inverse_cap);
    const Floats gradient = mul(capped ? exp_or_none(sub(value, top)) : value, share);
    store_n(logits + i, capped ? mul(gradient, sub(one, mul(t, t))) : gradient, lanes);
  }
  const double t = capped ? double{label_logit} / double{args.soft_cap} : 0;
  const double p = __builtin_exp(double{label_logit} - double{max}) / total;
  logits[label] = static_cast<float>(weight * (p - 1) * (1 - t * t));
}

}  // namespace
}  // namespace chorus
