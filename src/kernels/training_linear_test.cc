// The products of a backward pass: through the base's weights and through an adapter.

#include <algorithm>

#include "kernels/training_test.h"

namespace chorus {
namespace {

class TrainingLinearTest : public TrainingTest {};

using Floats = std::vector<float>;

// How far a product of `depth` terms may be from the exact one, beside the sum of their magnitudes. bf16
// keeps 8 bits, so each term is off by 2^-8 at most and their sum hardly by more than 2^-9 of the magnitudes.
double product_tolerance(const TrainingKernels& kernels, bool base, int depth) {
  const std::string name = kernels.name;
  if (base && (name == "avx512bf16" || name == "amx")) return 0x1p-8;
  if (name == "amx") return 0x1p-7;  // an adapter's have two products in a row
  return kRoundoff * (name == "reference" ? 2 : std::sqrt(depth) + 4);
}

struct LinearProblem {
  int k = 0, rows = 0;
  std::vector<TestWeight> weights;
  std::vector<Floats> dy;
  int pad = 3;  // dy_stride - n
  Floats dx;
  bool accumulate = true;
};

LinearProblem make_linear(Layout layout, const std::vector<int>& ns, int k, int rows) {
  LinearProblem p;
  p.k = k;
  p.rows = rows;
  for (const int n : ns) {
    const auto seed = static_cast<uint32_t>(p.weights.size());
    p.weights.push_back(random_weight(layout, n, k, 20 + seed));
    p.dy.push_back(random_floats(static_cast<size_t>(rows * (n + p.pad)), 30 + seed));
  }
  p.dx = random_floats(static_cast<size_t>(rows * k), 40);
  return p;
}

Floats run_linear_backward(const TrainingKernels& kernels, const LinearProblem& p, int rows, int threads) {
  std::vector<LinearBackwardTask> tasks;
  int max_n = 0;
  for (size_t t = 0; t < p.weights.size(); ++t) {
    const int n = p.weights[t].matrix.rows;
    max_n += n;
    tasks.push_back({&p.weights[t].matrix, p.dy[t].data(), n + p.pad});
  }
  Buffer<std::byte> shared(linear_backward_bytes(rows, max_n));
  std::vector<Buffer<std::byte>> own;
  for (int i = 0; i < threads; ++i) own.emplace_back(kTrainingTileBytes);
  Floats dx(p.dx.begin(), p.dx.begin() + rows * p.k);
  run_on_team(threads, [&](Stream& stream) {
    kernels.linear_backward(stream, {tasks, dx.data(), rows, p.accumulate, shared.data(),
                                     own[static_cast<size_t>(stream.member->index())].data()});
  });
  return dx;
}

void expect_linear(const TrainingKernels& kernels, const LinearProblem& p, const Floats& dx, int stride,
                   const std::string& what) {
  int depth = 0;
  for (const TestWeight& weight : p.weights) depth += weight.matrix.rows;
  const double tolerance = product_tolerance(kernels, true, depth);
  for (int col = 0; col < p.k; col += col % 7 == 0 ? 1 : stride) {
    std::vector<Floats> columns;
    for (const TestWeight& weight : p.weights) {
      columns.emplace_back();
      for (int n = 0; n < weight.matrix.rows; ++n) columns.back().push_back(weight.at(n, col));
    }
    for (int r = 0; r < p.rows; ++r) {
      const auto at = static_cast<size_t>(r * p.k + col);
      double sum = p.accumulate ? p.dx[at] : 0, magnitude = std::fabs(sum);
      for (size_t t = 0; t < columns.size(); ++t) {
        const auto n = static_cast<int>(columns[t].size());
        for (int i = 0; i < n; ++i) {
          const double term =
              double{p.dy[t][static_cast<size_t>(r * (n + p.pad) + i)]} * columns[t][static_cast<size_t>(i)];
          sum += term;
          magnitude += std::fabs(term);
        }
      }
      ASSERT_NEAR(dx[at], sum, tolerance * magnitude) << what << ": row " << r << ", column " << col;
    }
  }
}

TEST_P(TrainingLinearTest, EveryLayoutAndShape) {
  for (const Layout layout : kLayouts) {
    for (const int rows : {1, 15, 16, 17, 300}) {
      const int k = rows == 300 ? 96 : 160;
      const LinearProblem p = make_linear(layout, {40, 1, 80}, k, rows);
      const std::string what = "layout " + std::to_string(static_cast<int>(layout.layout)) +
                               (layout.has_min ? " with min" : "") + ", rows " + std::to_string(rows);
      expect_linear(kernels(), p, run_linear_backward(kernels(), p, rows, 2), rows == 300 ? 13 : 3, what);
    }
  }
}

TEST_P(TrainingLinearTest, OddColumnsAndManyOutputs) {
  LinearProblem p = make_linear({MatrixLayout::kQ4, true}, {1537}, 100, 33);
  p.accumulate = false;
  std::fill(p.dx.begin(), p.dx.end(), NAN);
  expect_linear(kernels(), p, run_linear_backward(kernels(), p, 33, 1), 1, "1537x100");
  const LinearProblem wide = make_linear({MatrixLayout::kBF16}, {17}, 2051, 7);
  expect_linear(kernels(), wide, run_linear_backward(kernels(), wide, 7, 3), 1, "17x2051");
}

TEST_P(TrainingLinearTest, LinearBackwardIsTheSameForAnyTeamAndBatch) {
  const LinearProblem p = make_linear({MatrixLayout::kQ4}, {600, 70}, 320, 67);
  const Floats dx = run_linear_backward(kernels(), p, 67, 1);
  for (int threads = 2; threads <= 5; ++threads) {
    const Floats again = run_linear_backward(kernels(), p, 67, threads);
    expect_same_bits(again.data(), dx.data(), dx.size(), std::to_string(threads) + " threads");
  }
  for (const int rows : {1, 19, 32}) {
    const Floats fewer = run_linear_backward(kernels(), p, rows, 2);
    expect_same_bits(fewer.data(), dx.data(), fewer.size(), std::to_string(rows) + " rows");
  }
}

// Linears of a group whose outputs are n wide, then one more each.
struct LoraProblem {
  int rows, k, n, rank, linears;
  Floats x, a, at, da, dx;
  std::vector<Floats> dy, b, db;
  int stride;
  float scale = 0.75f;

  int width(int linear) const { return n + linear; }
  int ranks() const { return linears * rank; }
};

LoraProblem make_lora(int rows, int k, int n, int rank, int linears, uint32_t seed = 1) {
  const auto size = [](int i, int j) { return static_cast<size_t>(i) * static_cast<size_t>(j); };
  LoraProblem p = {rows, k, n, rank, linears, {}, {}, {}, {}, {}, {}, {}, {}, n + 5};
  p.x = random_floats(size(rows, k), seed);
  p.a = random_floats(size(p.ranks(), k), seed + 1, 0.1f);
  p.at.resize(p.a.size());
  for (int j = 0; j < p.ranks(); ++j) {
    for (int c = 0; c < k; ++c) p.at[size(c, p.ranks()) + size_t(j)] = p.a[size(j, k) + size_t(c)];
  }
  p.da = random_floats(p.a.size(), seed + 2);
  p.dx = random_floats(p.x.size(), seed + 3);
  for (int l = 0; l < linears; ++l) {
    const auto own = seed + 4 + 3 * static_cast<uint32_t>(l);
    p.dy.push_back(random_floats(size(rows, p.stride), own));
    p.b.push_back(random_floats(size(p.width(l), rank), own + 1, 0.1f));
    p.db.push_back(random_floats(p.b.back().size(), own + 2));
  }
  return p;
}

std::vector<LoraProblem> run_lora_backward(const TrainingKernels& kernels, std::vector<LoraProblem> problems,
                                           int threads, bool want_dx) {
  std::vector<Floats> work(problems.size());
  std::vector<std::vector<LoraBackwardLinear>> linears(problems.size());
  std::vector<LoraBackwardSlice> slices;
  for (size_t i = 0; i < problems.size(); ++i) {
    LoraProblem& p = problems[i];
    work[i].assign(2 * static_cast<size_t>(p.rows * p.ranks()), NAN);
    for (int j = 0; j < p.linears; ++j) {
      const auto l = static_cast<size_t>(j);
      linears[i].push_back({p.dy[l].data(), p.stride, p.b[l].data(), p.db[l].data(), p.width(j)});
    }
    slices.push_back({linears[i], p.x.data(), p.a.data(), p.at.data(), p.scale, p.rows, p.rank, p.da.data(),
                      want_dx ? p.dx.data() : nullptr, work[i].data()});
  }
  run_on_team(threads, [&](Stream& stream) { kernels.lora_backward(stream, {slices, problems[0].k}); });
  return problems;
}

// A sum and what its terms add up to without their signs.
struct Sum {
  double value = 0, magnitude = 0;
  void add(double term, double size) {
    value += term;
    magnitude += std::fabs(size);
  }
};

struct Shrunk {
  std::vector<Sum> u, du;  // [rows, linears x rank]
  const Sum& at(const std::vector<Sum>& from, const LoraProblem& p, int row, int j) const {
    return from[static_cast<size_t>(row * p.ranks() + j)];
  }
};

Shrunk shrink(const LoraProblem& p) {
  Shrunk s = {std::vector<Sum>(size_t(p.rows * p.ranks())), std::vector<Sum>(size_t(p.rows * p.ranks()))};
  for (int r = 0; r < p.rows; ++r) {
    for (int j = 0; j < p.ranks(); ++j) {
      const auto at = static_cast<size_t>(r * p.ranks() + j), l = static_cast<size_t>(j / p.rank);
      for (int c = 0; c < p.k; ++c) {
        const double term = p.scale * double{p.x[size_t(r * p.k + c)]} * p.a[size_t(j * p.k + c)];
        s.u[at].add(term, term);
      }
      for (int i = 0; i < p.width(j / p.rank); ++i) {
        const double b = p.b[l][size_t(i * p.rank + j % p.rank)];
        const double term = p.scale * double{p.dy[l][size_t(r * p.stride + i)]} * b;
        s.du[at].add(term, term);
      }
    }
  }
  return s;
}

void expect_sum(const TrainingKernels& kernels, float actual, float before, const Sum& sum, int depth,
                const char* what, int i, int j) {
  const double tolerance = product_tolerance(kernels, false, depth);
  ASSERT_NEAR(actual, before + sum.value, tolerance * (sum.magnitude + std::fabs(before)) + 1e-30)
      << what << "[" << i << ", " << j << "]";
}

void expect_da(const TrainingKernels& kernels, const LoraProblem& p, const LoraProblem& out,
               const Shrunk& s) {
  for (int j = 0; j < p.ranks(); ++j) {
    for (int i = 0; i < p.k; ++i) {
      Sum sum;
      for (int r = 0; r < p.rows; ++r) {
        const double x = p.x[size_t(r * p.k + i)];
        sum.add(s.at(s.du, p, r, j).value * x, s.at(s.du, p, r, j).magnitude * x);
      }
      const auto at = static_cast<size_t>(j * p.k + i);
      expect_sum(kernels, out.da[at], p.da[at], sum, p.n + p.rows, "da", j, i);
    }
  }
}

void expect_db(const TrainingKernels& kernels, const LoraProblem& p, const LoraProblem& out,
               const Shrunk& s) {
  for (int j = 0; j < p.ranks(); ++j) {
    const auto l = static_cast<size_t>(j / p.rank);
    for (int i = 0; i < p.width(j / p.rank); ++i) {
      Sum sum;
      for (int r = 0; r < p.rows; ++r) {
        const double dy = p.dy[l][size_t(r * p.stride + i)];
        sum.add(s.at(s.u, p, r, j).value * dy, s.at(s.u, p, r, j).magnitude * dy);
      }
      const auto at = static_cast<size_t>(i * p.rank + j % p.rank);
      expect_sum(kernels, out.db[l][at], p.db[l][at], sum, p.k + p.rows, "db", i, j);
    }
  }
}

void expect_dx(const TrainingKernels& kernels, const LoraProblem& p, const LoraProblem& out,
               const Shrunk& s) {
  for (int r = 0; r < p.rows; ++r) {
    for (int i = 0; i < p.k; ++i) {
      Sum sum;
      for (int j = 0; j < p.ranks(); ++j) {
        const double a = p.a[size_t(j * p.k + i)];
        sum.add(s.at(s.du, p, r, j).value * a, s.at(s.du, p, r, j).magnitude * a);
      }
      const auto at = static_cast<size_t>(r * p.k + i);
      expect_sum(kernels, out.dx[at], p.dx[at], sum, p.n + p.ranks(), "dx", r, i);
    }
  }
}

TEST_P(TrainingLinearTest, LoraBackward) {
  struct Case {
    int rows, k, n, rank, linears;
  };
  for (const Case& c :
       {Case{1, 33, 20, 1, 1}, Case{15, 64, 48, 4, 3}, Case{17, 50, 100, 7, 2}, Case{16, 100, 61, 16, 3},
        Case{70, 90, 35, 23, 1}, Case{40, 65, 66, 64, 2}, Case{300, 270, 530, 5, 2}}) {
    const LoraProblem p = make_lora(c.rows, c.k, c.n, c.rank, c.linears);
    const LoraProblem out = run_lora_backward(kernels(), {p}, 2, true)[0];
    const Shrunk s = shrink(p);
    expect_da(kernels(), p, out, s);
    expect_db(kernels(), p, out, s);
    expect_dx(kernels(), p, out, s);
  }
}

void expect_same(const LoraProblem& actual, const LoraProblem& expected) {
  expect_same_bits(actual.da.data(), expected.da.data(), expected.da.size(), "da");
  for (size_t l = 0; l < expected.db.size(); ++l) {
    expect_same_bits(actual.db[l].data(), expected.db[l].data(), expected.db[l].size(), "db");
  }
}

TEST_P(TrainingLinearTest, LoraBackwardIsTheSameForAnyTeam) {
  const LoraProblem p = make_lora(130, 200, 150, 12, 3);
  const LoraProblem one = run_lora_backward(kernels(), {p}, 1, true)[0];
  for (int threads = 2; threads <= 5; ++threads) {
    const LoraProblem many = run_lora_backward(kernels(), {p}, threads, true)[0];
    expect_same(many, one);
    expect_same_bits(many.dx.data(), one.dx.data(), one.dx.size(), "dx");
  }
  const LoraProblem without = run_lora_backward(kernels(), {p}, 2, false)[0];
  EXPECT_EQ(without.dx, p.dx);
  expect_same(without, one);
}

TEST_P(TrainingLinearTest, LoraBackwardOfManySlicesIsThatOfEach) {
  std::vector<LoraProblem> slices;
  for (const int rank : {3, 16, 1, 20}) {
    slices.push_back(make_lora(9 + 20 * rank % 70, 70, 40 + rank, rank, 1 + rank % 3, 100 * uint32_t(rank)));
  }
  const std::vector<LoraProblem> together = run_lora_backward(kernels(), slices, 3, true);
  for (size_t i = 0; i < slices.size(); ++i) {
    const LoraProblem alone = run_lora_backward(kernels(), {slices[i]}, 1, true)[0];
    expect_same(together[i], alone);
    expect_same_bits(together[i].dx.data(), alone.dx.data(), alone.dx.size(), "dx");
  }
}

INSTANTIATE_TEST_SUITE_P(All, TrainingLinearTest, testing::ValuesIn(available_training_kernels()),
                         training_table_name);

}  // namespace
}  // namespace chorus
