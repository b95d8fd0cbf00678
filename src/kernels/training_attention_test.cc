// Attention's backward pass, by difference quotients of attention written plainly in double.

#include <algorithm>

#include "kernels/training_test.h"

namespace chorus {
namespace {

class TrainingAttentionTest : public TrainingTest {};

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

struct Shape {
  int heads, kv_heads, dim;
  std::vector<int> lengths;
  int window = 0;
  float soft_cap = 0;
  bool q_norm = false, k_norm = false;
};

struct Problem {
  Shape shape;
  int rows = 0;
  std::vector<AttentionBackwardSequence> sequences;
  Floats q, k, v, dy, y, q_norm, k_norm, rope;
  float scale = 0, eps = 1e-3f;
};

size_t count_of(int rows, int heads, int dim) {
  return static_cast<size_t>(rows) * static_cast<size_t>(heads) * static_cast<size_t>(dim);
}

// One head, normalised and rotated.
Doubles prepare(const Problem& p, const double* x, const Floats& norm, bool has_norm, int row) {
  const int dim = p.shape.dim;
  Doubles value(x, x + dim), y(value);
  if (has_norm) {
    double squares = 0;
    for (const double v : value) squares += v * v;
    for (int i = 0; i < dim; ++i) {
      value[size_t(i)] *= norm[size_t(i)] / std::sqrt(squares / dim + double{p.eps});
    }
  }
  for (int i = 0; i < dim / 2; ++i) {
    const double cos = p.rope[size_t(row * dim + 2 * i)], sin = p.rope[size_t(row * dim + 2 * i + 1)];
    const double a = value[size_t(i)], b = value[size_t(i + dim / 2)];
    y[size_t(i)] = a * cos - b * sin;
    y[size_t(i + dim / 2)] = b * cos + a * sin;
  }
  return y;
}

// The loss sum(y dy) of one query head and row; y goes to `out` if that is not null.
double attend(const Problem& p, const Doubles& q, const Doubles& k, const Doubles& v, int begin, int row,
              int head, float* out) {
  const Shape& s = p.shape;
  const int kv_head = head / (s.heads / s.kv_heads), dim = s.dim;
  const Doubles query =
      prepare(p, q.data() + count_of(row * s.heads + head, 1, dim), p.q_norm, s.q_norm, row);
  const int first = s.window > 0 ? std::max(begin, row + 1 - s.window) : begin;
  Doubles y(static_cast<size_t>(dim));
  double total = 0;
  for (int j = first; j <= row; ++j) {
    const size_t at = count_of(j * s.kv_heads + kv_head, 1, dim);
    const Doubles key = prepare(p, k.data() + at, p.k_norm, s.k_norm, j);
    double score = 0;
    for (int d = 0; d < dim; ++d) score += query[size_t(d)] * key[size_t(d)];
    score *= p.scale;
    if (s.soft_cap > 0) score = s.soft_cap * std::tanh(score / s.soft_cap);
    const double weight = std::exp(score);
    total += weight;
    for (int d = 0; d < dim; ++d) y[size_t(d)] += weight * v[at + size_t(d)];
  }
  double loss = 0;
  for (int d = 0; d < dim; ++d) {
    const size_t at = count_of(row * s.heads + head, 1, dim) + size_t(d);
    loss += y[size_t(d)] / total * p.dy[at];
    if (out != nullptr) out[at] = static_cast<float>(y[size_t(d)] / total);
  }
  return loss;
}

// The loss of the rows from `from` on of the sequence that row is of, in the heads of one kv head or in all.
double loss_of(const Problem& p, const Doubles& q, const Doubles& k, const Doubles& v, int sequence, int from,
               int kv_head, float* out = nullptr) {
  const int group = p.shape.heads / p.shape.kv_heads;
  const AttentionBackwardSequence rows = p.sequences[size_t(sequence)];
  double loss = 0;
  for (int row = from; row < rows.row_end; ++row) {
    for (int h = kv_head * group; h < (kv_head + 1) * group; ++h) {
      loss += attend(p, q, k, v, rows.row_begin, row, h, out);
    }
  }
  return loss;
}

Problem make_problem(const Shape& shape) {
  Problem p;
  p.shape = shape;
  for (const int length : shape.lengths) {
    p.sequences.push_back({p.rows, p.rows + length});
    p.rows += length;
  }
  p.q = random_floats(count_of(p.rows, shape.heads, shape.dim), 1);
  p.k = random_floats(count_of(p.rows, shape.kv_heads, shape.dim), 2);
  p.v = random_floats(p.k.size(), 3);
  p.dy = random_floats(p.q.size(), 4);
  p.q_norm = random_floats(size_t(shape.dim), 5);
  p.k_norm = random_floats(size_t(shape.dim), 6);
  p.rope = random_floats(count_of(p.rows, 1, shape.dim), 7, 0.7f);
  p.scale = 1.5f / std::sqrt(static_cast<float>(shape.dim));
  p.y.resize(p.q.size());
  const Doubles q = to_double(p.q), k = to_double(p.k), v = to_double(p.v);
  for (size_t s = 0; s < p.sequences.size(); ++s) {
    for (int h = 0; h < shape.kv_heads; ++h) {
      loss_of(p, q, k, v, static_cast<int>(s), p.sequences[s].row_begin, h, p.y.data());
    }
  }
  return p;
}

struct Gradients {
  Floats q, k, v;
};

Gradients run(const TrainingKernels& kernels, const Problem& p, int threads) {
  const Shape& s = p.shape;
  Gradients d = {Floats(p.q.size(), NAN), Floats(p.k.size(), NAN), Floats(p.v.size(), NAN)};
  const int longest = *std::max_element(s.lengths.begin(), s.lengths.end());
  std::vector<Buffer<float>> own;
  for (int i = 0; i < threads; ++i) {
    own.emplace_back(attention_backward_floats(longest, s.heads, s.kv_heads, s.dim));
  }
  run_on_team(threads, [&](Stream& stream) {
    AttentionBackwardArgs args;
    args.q = p.q.data();
    args.k = p.k.data();
    args.v = p.v.data();
    if (s.q_norm) args.q_norm = p.q_norm.data();
    if (s.k_norm) args.k_norm = p.k_norm.data();
    args.norm_eps = p.eps;
    args.rope = p.rope.data();
    args.sequences = p.sequences;
    args.heads = s.heads;
    args.kv_heads = s.kv_heads;
    args.dim = s.dim;
    args.window = s.window;
    args.scale = p.scale;
    args.soft_cap = s.soft_cap;
    args.y = p.y.data();
    args.dy = p.dy.data();
    args.dq = d.q.data();
    args.dk = d.k.data();
    args.dv = d.v.data();
    args.own = own[static_cast<size_t>(stream.member->index())].data();
    kernels.attention_backward(stream, args);
  });
  return d;
}

// Some elements of every row of dq, dk and dv.
void expect_slopes(const Problem& p, const Gradients& d) {
  Doubles q = to_double(p.q), k = to_double(p.k), v = to_double(p.v);
  const Shape& s = p.shape;
  const double tolerance = 2e-5 * std::sqrt(p.rows);
  for (size_t sequence = 0; sequence < p.sequences.size(); ++sequence) {
    for (int row = p.sequences[sequence].row_begin; row < p.sequences[sequence].row_end; ++row) {
      const auto check = [&](Doubles& x, const Floats& gradient, int heads, const char* what) {
        for (int i = row % 3; i < heads * s.dim; i += s.dim * 3 / 4 + 1) {
          const size_t at = count_of(row, heads, s.dim) + size_t(i);
          const int kv_head = i / s.dim / (heads / s.kv_heads);
          const double expected =
              slope(x, at, [&] { return loss_of(p, q, k, v, static_cast<int>(sequence), row, kv_head); });
          ASSERT_NEAR(gradient[at], expected, tolerance * (1 + std::fabs(expected)))
              << what << " of row " << row << ", " << i;
        }
      };
      check(q, d.q, s.heads, "dq");
      check(k, d.k, s.kv_heads, "dk");
      check(v, d.v, s.kv_heads, "dv");
    }
  }
}

const Shape kShapes[] = {
    {2, 1, 16, {1, 7, 12}},
    {6, 2, 16, {19, 3}, 5},
    {3, 3, 64, {9}, 0, 2.0f},
    {4, 2, 32, {17}, 0, 0, true, true},
    {2, 1, 32, {18}, 7, 3.0f, false, true},
};

TEST_P(TrainingAttentionTest, MatchesDifferenceQuotients) {
  for (const Shape& shape : kShapes) {
    const Problem p = make_problem(shape);
    expect_slopes(p, run(kernels(), p, 1));
  }
}

// The reference is proved by the test above; these are too large for it.
TEST_P(TrainingAttentionTest, MatchesTheReference) {
  const Shape shapes[] = {
      {9, 3, 64, {61, 1, 130}},          {2, 2, 96, {33, 70}, 16}, {3, 1, 128, {65}, 0, 4.0f, true, true},
      {2, 1, 256, {31, 40}, 0, 0, true}, {4, 4, 80, {77}},         {1, 1, 16, {300}, 100},
  };
  for (const Shape& shape : shapes) {
    const Problem p = make_problem(shape);
    const Gradients d = run(kernels(), p, 2), expected = run(*find_training_kernels("reference"), p, 1);
    const std::string what = "dim " + std::to_string(shape.dim);
    expect_close(d.q, expected.q, 2e-5, what + ", dq");
    expect_close(d.k, expected.k, 2e-5, what + ", dk");
    expect_close(d.v, expected.v, 2e-5, what + ", dv");
  }
}

TEST_P(TrainingAttentionTest, IsTheSameForAnyTeamAndBatch) {
  const Shape shape = {6, 2, 32, {21, 83, 6}, 40};
  const Problem p = make_problem(shape);
  const Gradients one = run(kernels(), p, 1);
  for (int threads = 2; threads <= 5; ++threads) {
    const Gradients many = run(kernels(), p, threads);
    expect_same_bits(many.q.data(), one.q.data(), one.q.size(), "dq");
    expect_same_bits(many.k.data(), one.k.data(), one.k.size(), "dk");
    expect_same_bits(many.v.data(), one.v.data(), one.v.size(), "dv");
  }
  Problem alone = p;
  alone.sequences.resize(1);
  const Gradients first = run(kernels(), alone, 2);
  const size_t q = count_of(21, 6, 32), kv = count_of(21, 2, 32);
  expect_same_bits(first.q.data(), one.q.data(), q, "dq of a sequence alone");
  expect_same_bits(first.k.data(), one.k.data(), kv, "dk of a sequence alone");
  expect_same_bits(first.v.data(), one.v.data(), kv, "dv of a sequence alone");
}

INSTANTIATE_TEST_SUITE_P(All, TrainingAttentionTest, testing::ValuesIn(available_training_kernels()),
                         training_table_name);

}  // namespace
}  // namespace chorus
