// Time to turn one row of logits into a token, by vocabulary, kind of row and parameters; one thread.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "engine/sampler.h"

namespace chorus {
namespace {

constexpr int kTopLogprobs = 20;

// A row as models give it: most tokens far below a few; or one that says nothing.
std::vector<float> make_row(int vocab, bool flat) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, flat ? 0.01f : 2.5f);
  std::vector<float> row(static_cast<size_t>(vocab));
  for (float& x : row) x = normal(random);
  for (size_t i = 0; !flat && i < 12; ++i) {
    row[(i + 1) * row.size() / 14] = 16.0f - 0.5f * static_cast<float>(i);
  }
  return row;
}

void bench_sample(benchmark::State& state, const SamplingParams& params, int vocab, bool flat, int tokens) {
  const std::vector<float> row = make_row(vocab, flat);
  std::vector<int32_t> output;
  for (int i = 0; i < tokens; ++i) output.push_back(i * 7919 % vocab);
  Sampler sampler(vocab, kTopLogprobs);
  SampleArgs args;
  args.logits = row;
  args.params = &params;
  args.output = output;
  for (auto _ : state) {
    ++args.position;
    benchmark::DoNotOptimize(sampler.sample(args));
  }
}

void register_all() {
  const auto add = [](const std::string& name, const SamplingParams& params, bool flat = false,
                      int tokens = 0) {
    for (const int vocab : {49152, 128256}) {
      benchmark::RegisterBenchmark(fmt::format("{}/{}", name, vocab).c_str(), [=](benchmark::State& s) {
        bench_sample(s, params, vocab, flat, tokens);
      })->Unit(benchmark::kMicrosecond);
    }
  };
  add("greedy", {.temperature = 0});
  add("greedy/logprob", {.temperature = 0, .top_logprobs = 0});
  add("greedy/top_logprobs_20", {.temperature = 0, .top_logprobs = kTopLogprobs});
  add("temperature_0.8", {.temperature = 0.8f});
  add("temperature_0.8/flat", {.temperature = 0.8f}, true);
  add("min_p_0.05", {.temperature = 0.7f, .min_p = 0.05f});
  add("top_k_40", {.temperature = 0.8f, .top_k = 40});
  add("top_k_40/top_p_0.95/min_p_0.05", {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f});
  add("top_k_40000", {.temperature = 0.8f, .top_k = 40000});
  add("top_p_0.95", {.temperature = 0.8f, .top_p = 0.95f});
  add("top_p_0.95/logprob", {.temperature = 0.8f, .top_p = 0.95f, .top_logprobs = 0});
  add("top_p_0.9999/flat", {.temperature = 0.8f, .top_p = 0.9999f}, true);
  add("penalties/2000_tokens",
      {.temperature = 0.8f, .repetition_penalty = 1.1f, .presence_penalty = 0.2f, .frequency_penalty = 0.1f},
      false, 2000);
}

}  // namespace
}  // namespace chorus

int main(int argc, char** argv) {
  chorus::register_all();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
