// What /metrics costs: rendering with N adapters that have all been used, and recording a token.
#include <benchmark/benchmark.h>

#include <string>

#include "server/metrics.h"

namespace {

void render(benchmark::State& state) {
  chorus::Metrics metrics("base", "0");
  chorus::MetricsSources sources;
  for (int64_t i = 0; i < state.range(0); ++i) {
    chorus::AdapterStatus& adapter = sources.adapters.emplace_back();
    adapter.name = "adapter-" + std::to_string(i);
    adapter.residency = chorus::Residency::kReady;
    adapter.loads = 1;
    adapter.load_seconds = 0.0123;
    chorus::Series& series = metrics.series_of(adapter.name);
    for (int k = 0; k < 100; ++k) {
      series.queued(0.0011 * k);
      series.first_token(0.0123 * k);
      series.inter_token(0.0017 * k);
      series.finished(chorus::FinishReason::kStop, 123 * k, 16 * k, 45 * k, 0.77 * k);
    }
  }
  size_t bytes = 0;
  for (auto _ : state) bytes = metrics.render(sources).size();
  state.counters["bytes"] = static_cast<double>(bytes);
}
BENCHMARK(render)->Arg(0)->Arg(32)->Arg(1024)->Unit(benchmark::kMicrosecond);

void record_token(benchmark::State& state) {
  chorus::Metrics metrics("base", "0");
  chorus::Series& series = metrics.series_of("elf");
  for (auto _ : state) series.inter_token(0.011);
}
BENCHMARK(record_token);

}  // namespace

BENCHMARK_MAIN();
