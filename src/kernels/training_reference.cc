// The backward ops as plain loops, sums in double: the oracle of the other tables.

#include "kernels/training_reference.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "kernels/pack.h"

namespace chorus {
namespace {

using Range = TeamMember::Range;

// Sums for a block of columns and some rows lie in the member's own memory.
constexpr int kSumRows = 1024;
static_assert(sizeof(double) * kSumRows * kBlockCols <= kTrainingTileBytes);

// sums[r][c] += dy[row + r] . W[:, begin + c]
void add_task(const LinearBackwardTask& task, int row, int rows, int begin, int end, double* sums) {
  for (int n = 0; n < task.weight->rows; ++n) {
    float w[kBlockCols];
    unpack_row(*task.weight, n, begin, end, w);
    for (int r = 0; r < rows; ++r) {
      const double dy = task.dy[(row + r) * task.dy_stride + n];
      for (int c = 0; c < end - begin; ++c) sums[r * kBlockCols + c] += dy * w[c];
    }
  }
}

void linear_backward(Stream& stream, const LinearBackwardArgs& args) {
  const int k = args.tasks[0].weight->cols;
  auto* sums = reinterpret_cast<double*>(args.own);
  const Range cols = stream.member->share(k, kBlockCols);
  for (int64_t col = cols.begin; col < cols.end; col += kBlockCols) {
    const auto begin = static_cast<int>(col), end = std::min(begin + kBlockCols, k);
    for (int row = 0; row < args.rows; row += kSumRows) {
      const int rows = std::min(kSumRows, args.rows - row);
      std::fill_n(sums, rows * kBlockCols, 0.0);
      for (const LinearBackwardTask& task : args.tasks) add_task(task, row, rows, begin, end, sums);
      for (int r = 0; r < rows; ++r) {
        float* dx = args.dx + int64_t{row + r} * k + begin;
        for (int c = 0; c < end - begin; ++c) {
          const double sum = sums[r * kBlockCols + c];
          dx[c] = static_cast<float>(args.accumulate ? dx[c] + sum : sum);
        }
      }
    }
  }
}

// c[i, j] (+)= sum over l of a[i, l] b[l, j] for the rows [begin, end) of c; a is read at i * row + l * col.
struct Product {
  const float* a;
  int64_t a_row, a_col;
  const float* b;  // [depth, n]
  int64_t b_row;
  float* c;  // [.., n]
  int64_t c_row;
  int n, depth;
  double scale;
  bool accumulate;
};

void multiply(const Product& product, Range rows) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    for (int from = 0; from < product.n; from += kBlockCols) {
      const int count = std::min(kBlockCols, product.n - from);
      double sums[kBlockCols] = {};
      for (int64_t l = 0; l < product.depth; ++l) {
        const double a = product.a[i * product.a_row + l * product.a_col];
        const float* b = product.b + l * product.b_row + from;
        for (int j = 0; j < count; ++j) sums[j] += a * b[j];
      }
      float* c = product.c + i * product.c_row + from;
      for (int j = 0; j < count; ++j) {
        const double sum = product.scale * sums[j];
        c[j] = static_cast<float>(product.accumulate ? c[j] + sum : sum);
      }
    }
  }
}

void lora_backward(Stream& stream, const LoraBackwardArgs& args) {
  TeamMember& member = *stream.member;
  const int k = args.k;
  for (const LoraBackwardSlice& of : args.slices) {
    const int ranks = static_cast<int>(of.linears.size()) * of.rank;
    float* u = of.work;  // scale A x, of each row
    float* du = of.work + int64_t{of.rows} * ranks;
    const Range rows = member.share(of.rows);
    multiply({of.x, k, 1, of.at, ranks, u, ranks, ranks, k, of.scale, false}, rows);
    for (const LoraBackwardLinear& one : of.linears) {
      multiply({one.dy, one.dy_stride, 1, one.b, of.rank, du, ranks, of.rank, one.n, of.scale, false}, rows);
      du += of.rank;
    }
    member.barrier();
    for (const LoraBackwardLinear& one : of.linears) {
      multiply({one.dy, 1, one.dy_stride, u, ranks, one.db, of.rank, of.rank, of.rows, 1, true},
               member.share(one.n));
      u += of.rank;
    }
    du = of.work + int64_t{of.rows} * ranks;
    multiply({du, 1, ranks, of.x, k, of.da, k, k, of.rows, 1, true}, member.share(ranks));
    if (of.dx != nullptr) multiply({du, ranks, 1, of.a, k, of.dx, k, k, ranks, 1, true}, rows);
  }
}

void dora_backward(Stream& stream, const DoraBackwardArgs& args) {
  const Range columns = stream.member->share(args.n);
  for (int64_t i = columns.begin; i < columns.end; ++i) {
    double sum = 0;
    for (int64_t at = i; at < int64_t{args.rows} * args.n; at += args.n) {
      sum += args.dy[at] * (double{args.y[at]} - (args.before == nullptr ? 0 : args.before[at]));
      args.dz[at] = args.gain[i] * args.dy[at];
    }
    if (args.magnitude[i] != 0) args.d_magnitude[i] += static_cast<float>(sum / args.magnitude[i]);
  }
}

void dropout(Stream& stream, const DropoutArgs& args) {
  const Range rows = stream.member->share(args.rows);
  const float scale = 1 / (1 - args.p);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const float* x = args.x + r * args.cols;
    float* y = args.y + r * args.cols;
    for (int i = 0; i < args.cols; ++i) {
      const float value = dropout_keeps(args.key, args.row_keys[r], i, args.p) ? x[i] * scale : 0.0f;
      y[i] = args.accumulate ? y[i] + value : value;
    }
  }
}

// dx of y = x / rms(x) * weight; put(i, dx_i).
template <typename X, typename Dy, typename Put>
void normalize_backward(const X* x, const Dy* dy, const float* weight, int cols, double eps, Put put) {
  double squares = 0, dot = 0;
  for (int i = 0; i < cols; ++i) {
    squares += double{x[i]} * x[i];
    dot += double{x[i]} * dy[i] * weight[i];
  }
  const double inverse = 1 / std::sqrt(squares / cols + eps);
  const double along = dot * inverse * inverse * inverse / cols;
  for (int i = 0; i < cols; ++i) put(i, dy[i] * weight[i] * inverse - x[i] * along);
}

void rms_norm_backward(Stream& stream, const RmsNormBackwardArgs& args) {
  const Range rows = stream.member->share(args.rows);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    float* dx = args.dx + r * args.cols;
    normalize_backward(
        args.x + r * args.cols, args.dy + r * args.cols, args.weight, args.cols, args.eps,
        [&](int i, double value) { dx[i] = static_cast<float>(args.accumulate ? dx[i] + value : value); });
  }
}

struct Activated {
  double value, slope;
};

Activated activate(Activation activation, double x) {
  if (activation == Activation::kSilu) {
    const double s = 1 / (1 + std::exp(-x));
    return {x * s, s * (1 + x * (1 - s))};
  }
  const double kSqrt2OverPi = std::sqrt(2 / M_PI), kCubic = 0.044715;
  const double t = std::tanh(kSqrt2OverPi * (x + kCubic * x * x * x));
  const double inner = kSqrt2OverPi * (1 + 3 * kCubic * x * x);
  return {0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner};
}

void gated_backward(Stream& stream, const GatedBackwardArgs& args) {
  const Range range = stream.member->share(args.count);
  for (int64_t i = range.begin; i < range.end; ++i) {
    const Activated act = activate(args.activation, args.gate[i]);
    const double dy = args.dy[i], up = args.up[i];
    args.d_gate[i] = static_cast<float>(dy * up * act.slope);
    args.d_up[i] = static_cast<float>(dy * act.value);
  }
}

constexpr int kMaxHeadDim = 512;

// As AttentionArgs describes: normalised unless norm is null, then rotated.
void prepare_head(const float* x, const float* norm, double eps, const float* rope, int dim, double* y) {
  double inverse = 1, squares = 0;
  for (int i = 0; i < dim; ++i) squares += double{x[i]} * x[i];
  if (norm != nullptr) inverse = 1 / std::sqrt(squares / dim + eps);
  const auto value = [&](int i) { return norm == nullptr ? double{x[i]} : x[i] * inverse * norm[i]; };
  for (int i = 0; i < dim / 2; ++i) {
    const double cos = rope[2 * i], sin = rope[2 * i + 1], a = value(i), b = value(i + dim / 2);
    y[i] = a * cos - b * sin;
    y[i + dim / 2] = b * cos + a * sin;
  }
}

// dx of that; dy is overwritten.
void prepare_head_backward(const float* x, const float* norm, double eps, const float* rope, int dim,
                           double* dy, float* dx) {
  for (int i = 0; i < dim / 2; ++i) {
    const double cos = rope[2 * i], sin = rope[2 * i + 1], a = dy[i], b = dy[i + dim / 2];
    dy[i] = a * cos + b * sin;
    dy[i + dim / 2] = b * cos - a * sin;
  }
  const auto put = [&](int i, double value) { dx[i] = static_cast<float>(value); };
  if (norm != nullptr) return normalize_backward(x, dy, norm, dim, eps, put);
  for (int i = 0; i < dim; ++i) put(i, dy[i]);
}

// One kv head of one sequence, with the query heads that read it.
class HeadBackward {
 public:
  HeadBackward(const AttentionBackwardArgs& args, AttentionBackwardSequence sequence, int kv_head)
      : args_(args),
        first_row_(sequence.row_begin),
        rows_(sequence.row_end - sequence.row_begin),
        kv_head_(kv_head),
        dim_(args.dim) {
    const int64_t size = int64_t{rows_} * dim_;
    k_ = reinterpret_cast<double*>(args.own);
    dk_ = k_ + size;
    dv_ = dk_ + size;
    weights_ = dv_ + size;
    slopes_ = weights_ + rows_;
  }

  void run() {
    std::fill_n(dk_, 2 * int64_t{rows_} * dim_, 0.0);
    for (int j = 0; j < rows_; ++j) {
      prepare_head(args_.k + kv_at(j), args_.k_norm, args_.norm_eps, rope(j), dim_, k_ + j * dim_);
    }
    const int group = args_.heads / args_.kv_heads;
    for (int h = kv_head_ * group; h < (kv_head_ + 1) * group; ++h) {
      for (int i = 0; i < rows_; ++i) add_query(i, h);
    }
    for (int j = 0; j < rows_; ++j) {
      prepare_head_backward(args_.k + kv_at(j), args_.k_norm, args_.norm_eps, rope(j), dim_, dk_ + j * dim_,
                            args_.dk + kv_at(j));
      for (int d = 0; d < dim_; ++d) args_.dv[kv_at(j) + d] = static_cast<float>(dv_[j * dim_ + d]);
    }
  }

 private:
  int64_t q_at(int i, int head) const { return (int64_t{first_row_ + i} * args_.heads + head) * dim_; }
  int64_t kv_at(int j) const { return (int64_t{first_row_ + j} * args_.kv_heads + kv_head_) * dim_; }
  const float* rope(int i) const { return args_.rope + int64_t{first_row_ + i} * dim_; }

  // Softmax weights of the positions first..last, and the slope of the soft cap.
  void weigh(const double* q, int first, int last) {
    double max = -INFINITY, total = 0;
    for (int j = first; j <= last; ++j) {
      double score = 0;
      for (int d = 0; d < dim_; ++d) score += q[d] * k_[j * dim_ + d];
      score *= args_.scale;
      slopes_[j] = 1;
      if (args_.soft_cap > 0) {
        const double t = std::tanh(score / args_.soft_cap);
        score = args_.soft_cap * t;
        slopes_[j] = 1 - t * t;
      }
      weights_[j] = score;
      max = std::max(max, score);
    }
    for (int j = first; j <= last; ++j) total += weights_[j] = std::exp(weights_[j] - max);
    for (int j = first; j <= last; ++j) weights_[j] /= total;
  }

  void add_query(int i, int head) {
    const int first = args_.window > 0 ? std::max(0, i + 1 - args_.window) : 0;
    const float* dy = args_.dy + q_at(i, head);
    double q[kMaxHeadDim], dq[kMaxHeadDim] = {};
    prepare_head(args_.q + q_at(i, head), args_.q_norm, args_.norm_eps, rope(i), dim_, q);
    weigh(q, first, i);
    const auto d_weight = [&](int j) {
      double sum = 0;
      for (int d = 0; d < dim_; ++d) sum += double{dy[d]} * args_.v[kv_at(j) + d];
      return sum;
    };
    double mean = 0;
    for (int j = first; j <= i; ++j) mean += weights_[j] * d_weight(j);
    for (int j = first; j <= i; ++j) {
      const double d_score = weights_[j] * (d_weight(j) - mean) * slopes_[j] * args_.scale;
      for (int d = 0; d < dim_; ++d) {
        dq[d] += d_score * k_[j * dim_ + d];
        dk_[j * dim_ + d] += d_score * q[d];
        dv_[j * dim_ + d] += weights_[j] * dy[d];
      }
    }
    prepare_head_backward(args_.q + q_at(i, head), args_.q_norm, args_.norm_eps, rope(i), dim_, dq,
                          args_.dq + q_at(i, head));
  }

  const AttentionBackwardArgs& args_;
  int first_row_, rows_, kv_head_, dim_;
  double *k_, *dk_, *dv_, *weights_, *slopes_;
};

void attention_backward(Stream& stream, const AttentionBackwardArgs& args) {
  assert(args.dim <= kMaxHeadDim);
  const auto sequences = static_cast<int64_t>(args.sequences.size());
  const Range tasks = stream.member->share(sequences * args.kv_heads);
  for (int64_t i = tasks.begin; i < tasks.end; ++i) {
    HeadBackward(args, args.sequences[static_cast<size_t>(i / args.kv_heads)],
                 static_cast<int>(i % args.kv_heads))
        .run();
  }
}

void cross_entropy_row(const CrossEntropyArgs& args, int64_t row) {
  float* logits = args.logits + row * args.vocab;
  const int32_t label = args.labels[row];
  double total = 0;
  const double max = *std::max_element(logits, logits + args.vocab);
  for (int i = 0; i < args.vocab; ++i) total += std::exp(logits[i] - max);
  args.nll[row] = max + std::log(total) - logits[label];
  if (args.weights == nullptr) return;
  for (int i = 0; i < args.vocab; ++i) {
    const double capped = args.soft_cap > 0 ? logits[i] / args.soft_cap : 0;
    const double gradient = std::exp(logits[i] - max) / total - (i == label ? 1 : 0);
    logits[i] = static_cast<float>(args.weights[row] * gradient * (1 - capped * capped));
  }
}

void cross_entropy(Stream& stream, const CrossEntropyArgs& args) {
  const Range rows = stream.member->share(args.rows);
  for (int64_t r = rows.begin; r < rows.end; ++r) cross_entropy_row(args, r);
}

}  // namespace

const TrainingKernels kReferenceTrainingKernels = {
    .name = "reference",
    .forward = nullptr,
    .linear_backward = linear_backward,
    .lora_backward = lora_backward,
    .dora_backward = dora_backward,
    .dropout = dropout,
    .rms_norm_backward = rms_norm_backward,
    .gated_backward = gated_backward,
    .attention_backward = attention_backward,
    .cross_entropy = cross_entropy,
};

}  // namespace chorus
