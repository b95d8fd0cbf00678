// Groups of linears with adapters, in the files' own types and in int8, and with a gated activation at the
// end.

#include <algorithm>
#include <cmath>
#include <memory>

#include "kernels/cpu/quantized_rows.h"
#include "kernels/kernels_test.h"

namespace chorus {
namespace {

class LoraTest : public KernelsTest {};

// The layouts of A; B's is kQ8Short with kQ8.
constexpr MatrixLayout kForms[] = {MatrixLayout::kF32, MatrixLayout::kF16, MatrixLayout::kBF16,
                                   MatrixLayout::kQ8};

struct TestAdapter {
  TestWeight a;
  std::array<TestWeight, kMaxGroup> b;
  std::vector<float> u;
  std::array<std::vector<float>, kMaxGroup> gain;
  LoraMatrices matrices;
  int row_begin = 0, row_end = 0;
  float scale = 0;
};

struct GroupProblem {
  int k = 0, rows = 0;
  std::vector<TestWeight> weights;
  std::vector<std::unique_ptr<TestAdapter>> adapters;
  std::vector<float> x;
  TestQuantized quantized;
};

// Ranks of 0: the adapter has nothing for that task.
void add_adapter(GroupProblem& p, MatrixLayout form, const std::vector<int>& ranks, int begin, int end) {
  const auto seed = static_cast<uint32_t>(20 + 10 * p.adapters.size());
  auto adapter = std::make_unique<TestAdapter>();
  int sum = 0;
  for (size_t t = 0; t < ranks.size(); ++t) {
    sum += ranks[t];
    if (ranks[t] == 0) continue;
    const MatrixLayout layout = form == MatrixLayout::kQ8 ? MatrixLayout::kQ8Short : form;
    adapter->b[t] =
        random_weight({layout}, p.weights[t].matrix.rows, ranks[t], seed + static_cast<uint32_t>(t));
    adapter->matrices.b[t] = adapter->b[t].matrix;
    adapter->matrices.scale[t] = 0.5f + 0.25f * static_cast<float>(t);
  }
  adapter->a = random_weight({form}, sum, p.k, seed + 5);
  adapter->matrices.a = adapter->a.matrix;
  adapter->row_begin = begin;
  adapter->row_end = end;
  adapter->scale = p.adapters.size() % 2 == 0 ? 1.5f : -0.75f;
  p.adapters.push_back(std::move(adapter));
}

GroupProblem make_group(const Kernels& kernels, const std::vector<int>& ns, int k, int rows) {
  GroupProblem p;
  p.k = k;
  p.rows = rows;
  for (size_t t = 0; t < ns.size(); ++t) {
    p.weights.push_back(random_weight({MatrixLayout::kQ4}, ns[t], k, static_cast<uint32_t>(t + 1)));
  }
  p.x = random_floats(static_cast<size_t>(rows * k), 8);
  p.quantized = quantize_on(kernels, p.x, rows, k);
  return p;
}

using Outputs = std::vector<std::vector<float>>;  // one a task, [rows, n]

// Rows [first, first + count) of the problem as a call of their own.
Outputs run_group(const Kernels& kernels, GroupProblem& p, int first, int count, int threads,
                  bool adapted = true) {
  Outputs y;
  for (const TestWeight& weight : p.weights) {
    y.push_back(random_floats(static_cast<size_t>(p.rows * weight.matrix.rows), 9));
    y.back().erase(y.back().begin(), y.back().begin() + first * weight.matrix.rows);
  }
  std::vector<LinearTask> tasks;
  for (size_t t = 0; t < y.size(); ++t) {
    const PackedMatrix& w = p.weights[t].matrix;
    tasks.push_back({.weight = &w, .y = y[t].data(), .y_stride = w.rows, .accumulate = t == 1});
  }
  std::vector<LoraSlice> slices;
  for (const auto& adapter : p.adapters) {
    const int begin = std::max(adapter->row_begin - first, 0),
              end = std::min(adapter->row_end - first, count);
    if (begin >= end || !adapted) continue;
    const int ranks = adapter->a.matrix.rows;
    adapter->u.assign(static_cast<size_t>(lora_floats(count, end - begin, ranks)), NAN);
    slices.push_back({&adapter->matrices, begin, end, adapter->scale, adapter->u.data()});
  }
  run_on_team(threads, [&](Stream& stream) {
    kernels.linear_group(stream, {.x = p.x.data() + first * p.k,
                                  .quantized = from_row(p.quantized.view(), first, p.k),
                                  .rows = count,
                                  .tasks = tasks,
                                  .slices = slices,
                                  .gated = {}});
  });
  for (size_t t = 0; t < y.size(); ++t) y[t].resize(static_cast<size_t>(count * p.weights[t].matrix.rows));
  return y;
}

// What an adapter adds, in double, and how far a result may be from it.
struct Expected {
  double value = 0, tolerance = 0;
};

void add_expected(const Kernels& kernels, const GroupProblem& p, const TestAdapter& adapter,
                  const std::vector<float>& effective, std::vector<std::vector<Expected>>& expected) {
  const bool int8 = adapter.a.matrix.layout == MatrixLayout::kQ8 && kernels.int8_activations;
  const std::vector<float>& x = int8 ? effective : p.x;
  const int ranks = adapter.a.matrix.rows;
  for (int r = adapter.row_begin; r < adapter.row_end; ++r) {
    std::vector<double> u(static_cast<size_t>(ranks)), norm(static_cast<size_t>(ranks));
    for (int j = 0; j < ranks; ++j) {
      for (int i = 0; i < p.k; ++i) {
        const double product = double{adapter.a.at(j, i)} * x[static_cast<size_t>(r * p.k + i)];
        u[static_cast<size_t>(j)] += product;
        norm[static_cast<size_t>(j)] += std::fabs(product);
      }
    }
    size_t first = 0;
    for (size_t t = 0; t < p.weights.size(); ++t) {
      const PackedMatrix& b = adapter.matrices.b[t];
      if (b.data == nullptr) continue;
      const double scale = double{adapter.scale} * adapter.matrices.scale[t];
      for (int c = 0; c < b.rows; ++c) {
        Expected& e = expected[t][static_cast<size_t>(r * b.rows + c)];
        for (int group = 0; group < b.cols; group += kGroupCols) {
          const int end = std::min(b.cols, group + kGroupCols);
          double largest = 0;
          for (int j = group; j < end; ++j)
            largest = std::max(largest, std::fabs(u[first + static_cast<size_t>(j)]));
          for (int j = group; j < end; ++j) {
            const double weight = std::fabs(scale * adapter.b[t].at(c, j));
            e.value += scale * adapter.b[t].at(c, j) * u[first + static_cast<size_t>(j)];
            e.tolerance +=
                weight * norm[first + static_cast<size_t>(j)] * (p.k / 4 + b.cols / 4 + 16) * 0x1p-24;
            if (int8) e.tolerance += weight * largest / 127 * 0.51;  // u's own rounding to 8 bits
          }
        }
      }
      first += static_cast<size_t>(b.cols);
    }
  }
}

// The difference that adapters make is theirs; rows without one have the bits of a group without adapters.
void check_products(const Kernels& kernels, GroupProblem& p, int threads, const std::string& what) {
  const Outputs base = run_group(kernels, p, 0, p.rows, 1, false);
  const Outputs y = run_group(kernels, p, 0, p.rows, threads);
  const std::vector<float> effective = p.quantized.dequantized(p.rows, p.k);
  std::vector<std::vector<Expected>> expected;
  for (const auto& of_task : y) expected.emplace_back(of_task.size());
  for (const auto& adapter : p.adapters) add_expected(kernels, p, *adapter, effective, expected);
  for (size_t t = 0; t < y.size(); ++t) {
    for (size_t i = 0; i < y[t].size(); ++i) {
      const Expected& e = expected[t][i];
      if (e.tolerance == 0) {
        ASSERT_EQ(y[t][i], base[t][i]) << what << ", task " << t;
      } else {
        const double slack = e.tolerance + (std::fabs(base[t][i]) + std::fabs(y[t][i])) * 0x1p-22;
        ASSERT_NEAR(y[t][i], base[t][i] + e.value, slack) << what << ", task " << t << ", element " << i;
      }
    }
  }
}

TEST_P(LoraTest, AddsItsProductsAtAnyRank) {
  for (const MatrixLayout form : kForms) {
    for (int rank = 1; rank <= 70; rank += rank < 20 ? 1 : 5) {
      GroupProblem p = make_group(kernels(), {40}, 100, 3);
      add_adapter(p, form, {rank}, 1, 3);
      check_products(kernels(), p, 3, "form " + std::to_string(int(form)) + ", rank " + std::to_string(rank));
    }
  }
}

// Several adapters in one call, with overlapping rows, different ranks by task, and tasks they leave alone.
GroupProblem make_mix(const Kernels& kernels, MatrixLayout form, int rows) {
  GroupProblem p = make_group(kernels, {72, 24, 33}, 200, rows);
  add_adapter(p, form, {8, 8, 8}, 0, rows / 3);
  add_adapter(p, form, {0, 20, 3}, 0, rows / 3);
  add_adapter(p, form, {64, 0, 0}, rows / 3, rows / 2);
  add_adapter(p, form, {16, 33, 130}, rows / 2 + 1, rows);
  return p;
}

TEST_P(LoraTest, MixesAndLeavesTheOtherRowsAlone) {
  for (const MatrixLayout form : kForms) {
    for (const int rows : {6, 16, 17, 60}) {
      GroupProblem p = make_mix(kernels(), form, rows);
      check_products(kernels(), p, 4, "form " + std::to_string(int(form)) + ", rows " + std::to_string(rows));
    }
  }
}

TEST_P(LoraTest, RowsAreTheSameBitsInAnyBatchAndTeam) {
  const int rows = 60;
  for (const MatrixLayout form : kForms) {
    GroupProblem p = make_mix(kernels(), form, rows);
    const Outputs whole = run_group(kernels(), p, 0, rows, 1);
    for (const int count : {1, 3, 16, 17, 31, 60}) {
      for (const int first : {0, (rows - count) / 2, rows - count}) {
        const Outputs y = run_group(kernels(), p, first, count, 1 + (count + first) % 4);
        for (size_t t = 0; t < y.size(); ++t) {
          expect_same_bits(y[t].data(), whole[t].data() + first * p.weights[t].matrix.rows, y[t].size(),
                           "group");
        }
      }
    }
  }
}

// DoRA's gain on every task that the adapter is on.
void add_gains(GroupProblem& p, TestAdapter& adapter) {
  for (size_t t = 0; t < p.weights.size(); ++t) {
    if (adapter.matrices.b[t].data == nullptr) continue;
    const int n = p.weights[t].matrix.rows;
    adapter.gain[t] = random_floats(static_cast<size_t>(n), static_cast<uint32_t>(90 + t));
    adapter.matrices.gain[t] = {reinterpret_cast<const std::byte*>(adapter.gain[t].data()), n, 1};
  }
}

// The first, the third and the fourth, so that rows have a gain, none, and one beside an adapter without.
GroupProblem make_dora_mix(const Kernels& kernels, int rows) {
  GroupProblem p = make_mix(kernels, MatrixLayout::kF32, rows);
  for (const size_t i : {0, 2, 3}) add_gains(p, *p.adapters[i]);
  return p;
}

// What gains change is the products, times them and the slices' scales; rows without are left alone.
TEST_P(LoraTest, GainsAreOfTheProductsAlone) {
  for (const int rows : {6, 17, 60}) {
    GroupProblem plain = make_mix(kernels(), MatrixLayout::kF32, rows), p = make_dora_mix(kernels(), rows);
    const Outputs without = run_group(kernels(), plain, 0, rows, 1),
                  with = run_group(kernels(), p, 0, rows, 3);
    const Outputs base = run_group(kernels(), p, 0, rows, 1, false);
    for (size_t t = 0; t < with.size(); ++t) {
      const int n = p.weights[t].matrix.rows;
      const std::vector<float> before = random_floats(static_cast<size_t>(rows * n), 9);
      for (size_t i = 0; i < with[t].size(); ++i) {
        const int row = static_cast<int>(i) / n;
        double gain = 0;
        for (const auto& adapter : p.adapters) {
          if (row < adapter->row_begin || row >= adapter->row_end || adapter->gain[t].empty()) continue;
          gain += double{adapter->scale} * adapter->gain[t][i % static_cast<size_t>(n)];
        }
        const double product = t == 1 ? double{base[t][i]} - before[i] : base[t][i];
        const double slack = (std::fabs(base[t][i]) + std::fabs(without[t][i]) + 1) * 1e-5;
        if (gain == 0) {
          ASSERT_EQ(with[t][i], without[t][i]) << rows << " rows, task " << t << ", element " << i;
        } else {
          ASSERT_NEAR(with[t][i], without[t][i] + gain * product, slack)
              << rows << " rows, task " << t << ", element " << i;
        }
      }
    }
  }
}

TEST_P(LoraTest, GainedRowsAreTheSameBitsInAnyBatchAndTeam) {
  const int rows = 60;
  GroupProblem p = make_dora_mix(kernels(), rows);
  const Outputs whole = run_group(kernels(), p, 0, rows, 1);
  for (const int count : {1, 3, 16, 17, 31, 60}) {
    for (const int first : {0, (rows - count) / 2, rows - count}) {
      const Outputs y = run_group(kernels(), p, first, count, 1 + (count + first) % 4);
      for (size_t t = 0; t < y.size(); ++t) {
        expect_same_bits(y[t].data(), whole[t].data() + first * p.weights[t].matrix.rows, y[t].size(),
                         "group");
      }
    }
  }
}

// More slices than loops may stand between two barriers.
TEST_P(LoraTest, TakesManySlices) {
  GroupProblem p = make_group(kernels(), {40}, 64, 80);
  for (int i = 0; i < 80; ++i) add_adapter(p, MatrixLayout::kQ8, {4}, i, i + 1);
  check_products(kernels(), p, 4, "many slices");
}

// Three of the four pieces in which u is summed then have no columns.
TEST_P(LoraTest, TakesAnInputOfOneBlock) {
  for (const MatrixLayout layout : {MatrixLayout::kQ8, MatrixLayout::kF32}) {
    GroupProblem p = make_group(kernels(), {40}, 50, 40);
    add_adapter(p, layout, {4}, 0, 40);
    check_products(kernels(), p, 2, "one block");
  }
}

double activated(Activation activation, double g) {
  if (activation == Activation::kSilu) return g / (1 + std::exp(-g));
  return 0.5 * g * (1 + std::tanh(std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g)));
}

// Gate and up, with the activation at the end.
struct Gated {
  Outputs inputs;
  std::vector<float> y;
  TestQuantized quantized;
};

// `in_place`: the result takes the gate's place; else that is kept in `inputs`.
Gated run_gated(const Kernels& kernels, GroupProblem& p, Activation activation, int threads, bool in_place) {
  const int n = p.weights[0].matrix.rows, rows = p.rows;
  Gated out = {
      {std::vector<float>(static_cast<size_t>(rows * n)), std::vector<float>(static_cast<size_t>(rows * n))},
      std::vector<float>(static_cast<size_t>(rows * n), NAN),
      make_quantized(rows, n)};
  float* gate = in_place ? out.y.data() : out.inputs[0].data();
  const LinearTask tasks[] = {{.weight = &p.weights[0].matrix, .y = gate, .y_stride = n},
                              {.weight = &p.weights[1].matrix, .y = out.inputs[1].data(), .y_stride = n}};
  TestAdapter& adapter = *p.adapters.front();
  adapter.u.assign(static_cast<size_t>(lora_floats(rows, rows, adapter.a.matrix.rows)), NAN);
  const LoraSlice slice = {&adapter.matrices, 0, rows, adapter.scale, adapter.u.data()};
  run_on_team(threads, [&](Stream& stream) {
    kernels.linear_group(stream, {.x = p.x.data(),
                                  .quantized = p.quantized.view(),
                                  .rows = rows,
                                  .tasks = tasks,
                                  .slices = {&slice, 1},
                                  .gated = {out.y.data(), activation, out.quantized.view()}});
  });
  return out;
}

TEST_P(LoraTest, EndsWithTheGatedActivation) {
  for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh}) {
    for (const int rows : {3, 16, 50}) {
      GroupProblem p = make_group(kernels(), {150, 150}, 100, rows);
      add_adapter(p, MatrixLayout::kQ8, {8, 8}, 0, rows);
      const Gated out = run_gated(kernels(), p, activation, 4, false);
      for (size_t i = 0; i < out.y.size(); ++i) {
        const double gate = double{out.inputs[0][i]}, up = double{out.inputs[1][i]};
        const double expected = activated(activation, gate) * up;
        // 1 + tanh cancels for negative gates: an ulp of 1 times the gate.
        ASSERT_NEAR(out.y[i], expected, 1e-6 * std::fabs(expected) + 2e-7 * std::fabs(gate * up) + 1e-30)
            << gate;
      }
      EXPECT_EQ(out.quantized.quants, quantize_on(kernels(), out.y, rows, 150).quants);
      const Gated alone = run_gated(kernels(), p, activation, 1, false);
      expect_same_bits(out.y.data(), alone.y.data(), out.y.size(), "gated");
      EXPECT_EQ(out.quantized.scales, alone.quantized.scales);
      const Gated in_place = run_gated(kernels(), p, activation, 4, true);
      expect_same_bits(out.y.data(), in_place.y.data(), out.y.size(), "in place");
      EXPECT_EQ(out.quantized.scales, in_place.quantized.scales);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, LoraTest, testing::ValuesIn(available_kernels()), table_name);

}  // namespace
}  // namespace chorus
