// Speed of the ops of a training step, also as shares of what this machine gives in the same minute:
// of_weight of what the table multiplies weights with, of_f32 of its multiply-add. CHORUS_KERNELS chooses the
// table, by its own name
// ("amx", "avx512bf16", ..) or by that of the kernels it goes with.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/error.h"
#include "kernels/peaks.h"
#include "kernels/training.h"

namespace chorus {
namespace {

const TrainingKernels& choose_training_kernels() {
  const char* name = std::getenv("CHORUS_KERNELS");
  if (name == nullptr || *name == '\0') return *available_training_kernels().front();
  const TrainingKernels* table = find_training_kernels(name);
  if (table == nullptr) fail("no table of training kernels goes by {}", printable(name));
  return *table;
}

struct Machine {
  ThreadTeam team;
  const TrainingKernels& kernels = choose_training_kernels();
  double weight_peak = 0, f32_peak = 0;  // medians of a few tries

  Machine() {
    weight_peak = peak(weight_unit(kernels.name));
    f32_peak = peak(f32_unit(kernels.name));
  }

 private:
  double peak(const MultiplyUnit* unit) {
    if (unit == nullptr) return 0;
    std::array<double, 7> tries;
    for (double& rate : tries) rate = multiply_rate(team, *unit);
    std::ranges::nth_element(tries, tries.begin() + tries.size() / 2);
    return tries[tries.size() / 2];
  }
};

void count(benchmark::State& state, const char* name, double value) {
  state.counters[name] =
      benchmark::Counter(value, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}

// Runs op(stream) with a sync after each, as in a step.
template <typename F>
void run_op(Machine& machine, benchmark::State& state, double operations, F op) {
  constexpr int kRepetitions = 4;
  for (auto _ : state) {
    double seconds = 0;
    machine.team.run([&](TeamMember& member) {
      Stream stream{.member = &member};
      member.barrier();
      const auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < kRepetitions; ++i) {
        op(stream);
        member.barrier();
      }
      const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
      if (member.index() == 0) seconds = time.count();
    });
    state.SetIterationTime(seconds / kRepetitions);
  }
  count(state, "op/s", operations);
}

std::vector<float> values(int64_t count) {
  std::vector<float> x(static_cast<size_t>(count));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 2654435761u % 1000) / 1000 - 0.5f;
  return x;
}

struct WeightShape {
  int n, k;
  MatrixLayout layout = MatrixLayout::kQ4;
  bool has_min = true;
};

void bench_linear(Machine& machine, benchmark::State& state, WeightShape shape, int rows) {
  Buffer<std::byte> bytes(packed_bytes(shape.layout, shape.has_min, shape.n, shape.k));
  std::memset(bytes.data(), 0x22, bytes.size());
  const PackedMatrix weight = {bytes.data(), shape.n, shape.k, shape.layout, shape.has_min};
  const std::vector<float> dy = values(int64_t{rows} * shape.n);
  std::vector<float> dx(static_cast<size_t>(rows) * static_cast<size_t>(shape.k));
  Buffer<std::byte> shared(linear_backward_bytes(rows, shape.n));
  std::vector<Buffer<std::byte>> own;
  for (int i = 0; i < machine.team.size(); ++i) own.emplace_back(kTrainingTileBytes);
  const LinearBackwardTask task = {&weight, dy.data(), shape.n};
  const double operations = 2.0 * rows * shape.n * shape.k;
  if (machine.weight_peak > 0) count(state, "of_weight", operations / machine.weight_peak);
  run_op(machine, state, operations, [&](Stream& stream) {
    machine.kernels.linear_backward(stream, {{&task, 1},
                                             dx.data(),
                                             rows,
                                             true,
                                             shared.data(),
                                             own[static_cast<size_t>(stream.member->index())].data()});
  });
}

void bench_lora(Machine& machine, benchmark::State& state, int n, int k, int rank, int rows) {
  const std::vector<float> x = values(int64_t{rows} * k), dy = values(int64_t{rows} * n);
  const std::vector<float> a = values(int64_t{rank} * k), b = values(int64_t{n} * rank);
  std::vector<float> da(a.size()), db(b.size()), dx(x.size()), work(static_cast<size_t>(2 * rows * rank));
  const double operations = 2.0 * rows * rank * (3.0 * k + 2.0 * n);
  if (machine.f32_peak > 0) count(state, "of_f32", operations / machine.f32_peak);
  run_op(machine, state, operations, [&](Stream& stream) {
    const LoraBackwardLinear linear{dy.data(), n, b.data(), db.data(), n};
    const LoraBackwardSlice slice{{&linear, 1}, x.data(), a.data(),  a.data(),  1e-6f,
                                  rows,         rank,     da.data(), dx.data(), work.data()};
    machine.kernels.lora_backward(stream, {{&slice, 1}, k});
  });
}

struct HeadShape {
  int heads, kv_heads, dim, sequences, rows;
};

void bench_attention(Machine& machine, benchmark::State& state, HeadShape shape) {
  const int64_t rows = int64_t{shape.sequences} * shape.rows;
  const std::vector<float> q = values(rows * shape.heads * shape.dim);
  const std::vector<float> k = values(rows * shape.kv_heads * shape.dim), rope = values(rows * shape.dim);
  std::vector<float> dq(q.size()), dk(k.size()), dv(k.size());
  std::vector<AttentionBackwardSequence> sequences;
  for (int i = 0; i < shape.sequences; ++i) sequences.push_back({i * shape.rows, (i + 1) * shape.rows});
  std::vector<Buffer<float>> own;
  for (int i = 0; i < machine.team.size(); ++i) {
    own.emplace_back(attention_backward_floats(shape.rows, shape.heads, shape.kv_heads, shape.dim));
  }
  AttentionBackwardArgs args;
  args.q = args.y = args.dy = q.data();
  args.k = args.v = k.data();
  args.rope = rope.data();
  args.sequences = sequences;
  args.heads = shape.heads;
  args.kv_heads = shape.kv_heads;
  args.dim = shape.dim;
  args.scale = 0.125f;
  args.dq = dq.data();
  args.dk = dk.data();
  args.dv = dv.data();
  // Five products over the lower triangle.
  const double operations = 5.0 * static_cast<double>(rows) * shape.rows * shape.heads * shape.dim;
  if (machine.f32_peak > 0) count(state, "of_f32", operations / machine.f32_peak);
  run_op(machine, state, operations, [&](Stream& stream) {
    AttentionBackwardArgs mine = args;
    mine.own = own[static_cast<size_t>(stream.member->index())].data();
    machine.kernels.attention_backward(stream, mine);
  });
}

void bench_rows(Machine& machine, benchmark::State& state, int rows, int cols) {
  const std::vector<float> x = values(int64_t{rows} * cols), weight = values(cols);
  std::vector<float> dx(x.size());
  run_op(machine, state, static_cast<double>(x.size()), [&](Stream& stream) {
    machine.kernels.rms_norm_backward(
        stream, {x.data(), x.data(), weight.data(), dx.data(), rows, cols, 1e-5f, true});
  });
}

void bench_gated(Machine& machine, benchmark::State& state, int rows, int cols) {
  const std::vector<float> gate = values(int64_t{rows} * cols);
  std::vector<float> d_gate(gate.size()), d_up(gate.size());
  run_op(machine, state, static_cast<double>(gate.size()), [&](Stream& stream) {
    machine.kernels.gated_backward(stream, {gate.data(), gate.data(), gate.data(), d_gate.data(), d_up.data(),
                                            int64_t{rows} * cols, Activation::kSilu});
  });
}

void bench_dropout(Machine& machine, benchmark::State& state, int rows, int cols) {
  const std::vector<float> x = values(int64_t{rows} * cols);
  std::vector<float> y(x.size());
  const std::vector<uint64_t> keys(static_cast<size_t>(rows), 7);
  run_op(machine, state, static_cast<double>(x.size()), [&](Stream& stream) {
    machine.kernels.dropout(stream, {x.data(), y.data(), keys.data(), 1, rows, cols, 0.05f, false});
  });
}

void bench_cross_entropy(Machine& machine, benchmark::State& state, int rows, int vocab) {
  std::vector<float> logits = values(int64_t{rows} * vocab);
  const std::vector<int32_t> labels(static_cast<size_t>(rows), 5);
  const std::vector<float> weights(labels.size(), 0.5f);
  std::vector<double> nll(labels.size());
  run_op(machine, state, static_cast<double>(logits.size()), [&](Stream& stream) {
    machine.kernels.cross_entropy(stream,
                                  {logits.data(), labels.data(), weights.data(), 0, rows, vocab, nll.data()});
  });
}

void register_all(Machine& machine) {
  const auto add = [](const std::string& name, auto f) {
    benchmark::RegisterBenchmark(name.c_str(), f)->UseManualTime()->Unit(benchmark::kMicrosecond);
  };
  const auto add_linear = [&](const char* layout, WeightShape shape, int rows) {
    add(fmt::format("linear/{}/{}x{}/rows:{}", layout, shape.n, shape.k, rows),
        [=, &machine](benchmark::State& state) { bench_linear(machine, state, shape, rows); });
  };
  constexpr std::pair<int, int> kShapes[] = {{576, 576}, {1536, 576}, {576, 1536}, {3072, 8192}};
  for (const auto& [n, k] : kShapes) {
    for (const int rows : {256, 1024}) add_linear("q4min", {n, k}, rows);
  }
  add_linear("q4", {576, 1536, MatrixLayout::kQ4, false}, 1024);
  add_linear("bf16", {576, 1536, MatrixLayout::kBF16, false}, 1024);
  for (const int rows : {128, 256}) add_linear("q8", {49152, 576, MatrixLayout::kQ8, false}, rows);
  for (const auto& [n, k] : kShapes) {
    for (const int rank : {8, 16, 64}) {
      add(fmt::format("lora/{}x{}/rank:{}/rows:1024", n, k, rank),
          [=, &machine, n = n, k = k](benchmark::State& state) {
            bench_lora(machine, state, n, k, rank, 1024);
          });
    }
  }
  for (const HeadShape shape : {HeadShape{9, 3, 64, 4, 256}, HeadShape{9, 3, 64, 1, 1024},
                                HeadShape{9, 3, 64, 16, 64}, HeadShape{24, 8, 128, 1, 512}}) {
    add(fmt::format("attention/{}:{}x{}/sequences:{}/rows:{}", shape.heads, shape.kv_heads, shape.dim,
                    shape.sequences, shape.rows),
        [=, &machine](benchmark::State& state) { bench_attention(machine, state, shape); });
  }
  add("rms_norm/1024x576", [&](benchmark::State& state) { bench_rows(machine, state, 1024, 576); });
  add("gated/1024x1536", [&](benchmark::State& state) { bench_gated(machine, state, 1024, 1536); });
  add("dropout/1024x576", [&](benchmark::State& state) { bench_dropout(machine, state, 1024, 576); });
  add("cross_entropy/256x49152",
      [&](benchmark::State& state) { bench_cross_entropy(machine, state, 256, 49152); });
}

}  // namespace
}  // namespace chorus

int main(int argc, char** argv) {
  chorus::Machine machine;
  benchmark::AddCustomContext("kernels", machine.kernels.name);
  benchmark::AddCustomContext("threads", std::to_string(machine.team.size()));
  benchmark::AddCustomContext("weight GFLOPS", fmt::format("{:.0f}", machine.weight_peak / 1e9));
  benchmark::AddCustomContext("f32 GFLOPS", fmt::format("{:.0f}", machine.f32_peak / 1e9));
  chorus::register_all(machine);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
