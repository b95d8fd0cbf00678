// Speed of single kernels, also as shares of what this machine gives in the same minute: of_read for what is
// bound by memory, of_int8 for what is bound by multiplications. CHORUS_KERNELS chooses the table.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "kernels/kernels.h"
#include "kernels/peaks.h"

namespace chorus {
namespace {

struct Machine {
  ThreadTeam team;
  const Kernels& kernels = choose_kernels();
  double read_bandwidth = 0, int8_peak = 0;  // medians of a few tries

  Machine() {
    Buffer<std::byte> data(size_t{1} << 30);
    std::memset(data.data(), 1, data.bytes());
    read_bandwidth = median([&] { return read_rate(team, data.span()); });
    const MultiplyUnit* unit = int8_unit(kernels.name);
    if (unit != nullptr) int8_peak = median([&] { return multiply_rate(team, *unit); });
  }

 private:
  template <typename F>
  static double median(F f) {
    std::array<double, 7> tries;
    for (double& value : tries) value = f();
    std::ranges::nth_element(tries, tries.begin() + tries.size() / 2);
    return tries[tries.size() / 2];
  }
};

// Runs op(stream, repetition) `repetitions` times per iteration, with a sync after each as in a model's step.
template <typename F>
void run_op(Machine& machine, benchmark::State& state, int repetitions, F op) {
  for (auto _ : state) {
    double seconds = 0;
    machine.team.run([&](TeamMember& member) {
      Stream stream{.member = &member};
      member.barrier();
      const auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < repetitions; ++i) {
        op(stream, i);
        machine.kernels.sync(stream);
      }
      const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
      if (member.index() == 0) seconds = time.count();
    });
    state.SetIterationTime(seconds / repetitions);
  }
}

void count(Machine& machine, benchmark::State& state, double bytes, double operations) {
  using benchmark::Counter;
  const auto per_second = [&](double value) {
    return Counter(value, Counter::kIsIterationInvariantRate, Counter::kIs1000);
  };
  state.counters["bytes/s"] = per_second(bytes);
  state.counters["op/s"] = per_second(operations);
  state.counters["of_read"] = per_second(bytes / machine.read_bandwidth);
  if (machine.int8_peak > 0) state.counters["of_int8"] = per_second(operations / machine.int8_peak);
}

struct LinearShape {
  int n, k;
  MatrixLayout layout = MatrixLayout::kQ4;
  bool has_min = false;
};

// One copy of a small matrix stays in a cache; of a large one there are as many as it takes to leave it.
constexpr size_t kOutOfCache = size_t{512} << 20;
constexpr size_t kInCache = size_t{4} << 20;

void bench_linear(Machine& machine, benchmark::State& state, LinearShape shape, int rows) {
  const size_t bytes = packed_bytes(shape.layout, shape.has_min, shape.n, shape.k);
  const size_t copies = bytes < kInCache || rows > 16 ? 1 : kOutOfCache / bytes + 1;
  Buffer<std::byte> weights(bytes * copies);
  std::memset(weights.data(), 0x22, weights.size());
  const auto padded = static_cast<size_t>(round_up(shape.k, kBlockCols)), m = static_cast<size_t>(rows);
  std::vector<int8_t> quants(m * padded, 3);
  std::vector<float> scales(m * padded / 32, 0.01f), x(m * static_cast<size_t>(shape.k), 1);
  std::vector<int32_t> starts(m * padded / 32, 96 * kStartPerQuant);
  std::vector<float> sums(m * padded / 32, 0.96f);
  Buffer<float> y(m * static_cast<size_t>(shape.n));
  const int repetitions =
      bytes < kInCache ? (rows > 16 ? 4 : 100) : static_cast<int>(std::min<size_t>(copies, 40));
  run_op(machine, state, repetitions, [&](Stream& stream, int i) {
    const PackedMatrix weight = {weights.data() + bytes * (static_cast<size_t>(i) % copies), shape.n, shape.k,
                                 shape.layout, shape.has_min};
    const LinearTask task = {.weight = &weight, .y = y.data(), .y_stride = shape.n};
    machine.kernels.linear_group(stream,
                                 {.x = x.data(),
                                  .quantized = {quants.data(), scales.data(), starts.data(), sums.data()},
                                  .rows = rows,
                                  .tasks = {&task, 1},
                                  .slices = {},
                                  .gated = {}});
  });
  count(machine, state, static_cast<double>(bytes), 2.0 * rows * shape.n * shape.k);
}

struct AttentionShape {
  int heads, kv_heads, dim, sequences, rows, context;
  int shared = 0;  // positions whose pages all sequences have in common
};

// Rows of a step and the pages they see, in as many layers as it takes to leave the caches.
struct AttentionBench {
  AttentionBench(const AttentionShape& shape, KvType type)
      : pages((shape.context + kPagePositions - 1) / kPagePositions),
        bytes(kv_page_bytes(type, shape.kv_heads, shape.dim) * static_cast<size_t>(pages * shape.sequences)),
        layers(shape.rows == 1 ? kOutOfCache / bytes + 1 : 1),
        kv(bytes * layers) {
    std::memset(kv.data(), 0x22, kv.size());
    const int all = pages * shape.sequences;
    for (int i = 0; i < all; ++i) {
      const int page = i % pages < shape.shared / kPagePositions ? i % pages : i;
      block_tables.push_back(static_cast<int32_t>(page * int64_t{7919} % all));
    }
    for (int s = 0; s < shape.sequences; ++s) {
      const int32_t* table = block_tables.data() + s * pages;
      sequences.push_back({s * shape.rows, (s + 1) * shape.rows, table, shape.context});
      for (int position = shape.context - shape.rows; position < shape.context; ++position) {
        slots.push_back(int64_t{table[position / kPagePositions]} * kPagePositions +
                        position % kPagePositions);
      }
    }
  }

  int pages;
  size_t bytes, layers;
  Buffer<std::byte> kv;
  std::vector<int32_t> block_tables;
  std::vector<AttentionSequence> sequences;
  std::vector<int64_t> slots;
};

void bench_attention(Machine& machine, benchmark::State& state, AttentionShape shape) {
  const KvType type = machine.kernels.default_kv;
  AttentionBench input(shape, type);
  const auto rows = static_cast<size_t>(shape.sequences * shape.rows);
  const int cols = shape.heads * shape.dim;
  const size_t floats = rows * static_cast<size_t>(cols), padded = rows * size_t(round_up(cols, kBlockCols));
  std::vector<float> q(floats, 0.5f), kv(floats, 0.5f), y(floats), scales(padded / kGroupCols);
  std::vector<float> rope(rows * static_cast<size_t>(shape.dim), 0.7f);
  std::vector<int8_t> quants(padded);
  std::vector<int32_t> starts(padded / kGroupCols);
  std::vector<float> sums(padded / kGroupCols);
  std::vector<float> partials(
      attention_partials(static_cast<int>(rows), shape.heads, shape.dim, shape.context));
  std::vector<int32_t> arrivals(attention_arrivals(static_cast<int>(rows), shape.kv_heads));
  run_op(machine, state, static_cast<int>(std::min<size_t>(input.layers, 30)), [&](Stream& stream, int i) {
    std::byte* pages = input.kv.data() + input.bytes * static_cast<size_t>(i);
    machine.kernels.attention(stream,
                              {.q = q.data(),
                               .k = kv.data(),
                               .v = kv.data(),
                               .rope = rope.data(),
                               .slots = input.slots.data(),
                               .kv = {pages, type, shape.kv_heads, shape.dim},
                               .sequences = input.sequences,
                               .heads = shape.heads,
                               .scale = 0.1f,
                               .y = y.data(),
                               .quantized = {quants.data(), scales.data(), starts.data(), sums.data()},
                               .workspace = {partials.data(), arrivals.data()}});
  });
  const double seen = shape.rows == 1 ? shape.context : shape.context / 2.0;
  count(machine, state, static_cast<double>(input.bytes),
        4.0 * static_cast<double>(rows) * shape.heads * shape.dim * seen);
}

void register_all(Machine& machine) {
  const auto add = [](const std::string& name, auto f) {
    benchmark::RegisterBenchmark(name.c_str(), f)->UseManualTime()->Unit(benchmark::kMicrosecond);
  };
  const auto add_linear = [&](const char* layout, LinearShape shape, int rows) {
    add(fmt::format("linear/{}/{}x{}/rows:{}", layout, shape.n, shape.k, rows),
        [=, &machine](benchmark::State& state) { bench_linear(machine, state, shape, rows); });
  };
  constexpr std::pair<int, int> kShapes[] = {{576, 576},   {192, 576},   {1536, 576},  {576, 1536},
                                             {49152, 576}, {3072, 3072}, {8192, 3072}, {3072, 8192}};
  for (const auto& [n, k] : kShapes) {
    for (const int rows : {1, 8, 512}) add_linear("q4", {n, k}, rows);
  }
  for (const int rows : {1, 8, 512}) {
    for (const int n : {192, 576, 1536, 3072})
      add_linear("q4min", {n, n == 3072 ? n : 576, MatrixLayout::kQ4, true}, rows);
    add_linear("q8", {3072, 3072, MatrixLayout::kQ8}, rows);
  }
  for (const auto& [n, k] : {std::pair{1536, 576}, {3072, 3072}, {3072, 8192}}) {
    for (const int rows : {1, 8, 64, 512}) add_linear("bf16", {n, k, MatrixLayout::kBF16}, rows);
  }
  const auto add_attention = [&](AttentionShape shape) {
    add(fmt::format("attention/{}:{}x{}/sequences:{}/rows:{}/context:{}/shared:{}", shape.heads,
                    shape.kv_heads, shape.dim, shape.sequences, shape.rows, shape.context, shape.shared),
        [=, &machine](benchmark::State& state) { bench_attention(machine, state, shape); });
  };
  add_attention({9, 3, 64, 1, 1, 256});
  add_attention({9, 3, 64, 1, 1, 2048});
  add_attention({9, 3, 64, 1, 512, 512});
  add_attention({24, 8, 128, 1, 1, 1024});
  add_attention({24, 8, 128, 8, 1, 1024});
  add_attention({24, 8, 128, 8, 1, 1040, 1024});
  add_attention({24, 8, 128, 1, 512, 512});
}

}  // namespace
}  // namespace chorus

int main(int argc, char** argv) {
  chorus::Machine machine;
  benchmark::AddCustomContext("kernels", machine.kernels.name);
  benchmark::AddCustomContext("threads", std::to_string(machine.team.size()));
  benchmark::AddCustomContext("read GB/s", fmt::format("{:.1f}", machine.read_bandwidth / 1e9));
  benchmark::AddCustomContext("int8 GOPS", fmt::format("{:.0f}", machine.int8_peak / 1e9));
  chorus::register_all(machine);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
