#include "engine/benchmark.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <random>

#include "base/buffer.h"
#include "base/error.h"
#include "base/process_memory.h"
#include "engine/step_loop.h"
#include "model/adapter_io.h"
#include "model/adapter_pack.h"

namespace chorus {
namespace {

constexpr size_t kReadBytes = size_t{1} << 30;  // more than caches hold
constexpr int kPeakTries = 3;                   // beside each run of what they are compared with

// A part of the benchmark: its samples stop with enough clean ones, or when its time is up.
constexpr double kPrefillSeconds = 6, kDecodeSeconds = 10, kMixedSeconds = 24, kTaxSeconds = 8;
constexpr int kCleanRuns = 3, kMostRuns = 8;

struct Run {
  Sample whole;
  std::vector<Sample> decode_steps;           // steps of nothing but decodes
  std::vector<std::vector<int32_t>> answers;  // by request
};

// Requests that decode together, and their steps so far.
struct DecodeCase {
  DecodeFigure* figure;
  std::vector<Request> requests;
  int adapters;
  std::vector<Sample> steps;
};

class Benchmark {
 public:
  Benchmark(Runtime& runtime, const BenchmarkOptions& options,
            const std::function<void(const BenchmarkProgress&)>& progress)
      : runtime_(runtime), options_(options), progress_(progress), watch_(runtime.threads()) {}

  BenchmarkReport run() {
    describe();
    make_adapters();
    if (options_.prefill) measure_prefill();
    if (options_.decode) measure_decode();
    if (options_.mixed) measure_mixed();
    if (options_.tax && !adapters_.empty()) measure_tax();
    measure_memory();
    return std::move(report_);
  }

 private:
  void describe();
  void make_adapters();
  void measure_prefill();
  std::vector<DecodeCase> decode_cases();
  void measure_decode();
  double mixed_seconds() const;
  void measure_mixed();
  void measure_tax();
  void measure_memory();

  Request request(int index, int prompt, int output, bool adapted) const;
  std::vector<Request> requests(int count, int prompt, int output, bool adapted) const;
  Run run_requests(const std::vector<Request>& requests);
  void begin_part(const char* name, double budget, double estimate);
  void tell();

  // Calls f, which returns the clean samples so far, until these are enough or the part's time is up.
  template <typename F>
  void repeat(double seconds, F f) {
    const Stopwatch watch(1);
    for (int i = 0; i < kMostRuns; ++i) {
      if (i > 0 && watch.seconds() * (i + 1) / i > seconds) return;
      if (f() >= kCleanRuns) return;
    }
  }

  Runtime& runtime_;
  const BenchmarkOptions options_;
  const std::function<void(const BenchmarkProgress&)>& progress_;
  const Stopwatch watch_;
  BenchmarkReport report_;
  std::vector<AdapterHandle> adapters_;
  int runs_ = 0;  // every run has a tenant of its own, so that it finds no prefix of another
  const char* part_ = "";
  double part_end_ = 0;  // estimates
  double later_parts_ = 0;
};

void Benchmark::describe() {
  const Model& model = runtime_.model();
  report_.options = options_;
  report_.model = model.config.name;
  report_.kernels = runtime_.kernels_name();
  report_.int8_unit = runtime_.runner().int8_unit();
  report_.threads = runtime_.threads();
  report_.row_products = static_cast<double>(model.row_products());
  report_.head_products = static_cast<double>(model.config.hidden) * model.config.vocab;
  for (int t = 0; t < kLayerTargets && options_.adapters > 0; ++t) {
    const LinearShape shape = target_shape(model.config, static_cast<Target>(t));
    report_.lora_products +=
        static_cast<double>(model.config.layers.size()) * options_.rank * (shape.in + shape.out);
  }
  report_.step_bytes = static_cast<double>(model.step_bytes());
  report_.kv_bytes_per_position = static_cast<double>(runtime_.runner().kv_page_bytes()) / kPagePositions;
  const int context = runtime_.engine().config().context_length;
  const int longest = std::max(options_.prompt + options_.output, options_.depth + options_.output + 1);
  if (longest > model.config.context_length || longest > context) {
    fail("prompt, depth and output make sequences of {} tokens; the model's context holds {}", longest,
         std::min(model.config.context_length, context));
  }
  if (options_.rank > runtime_.engine().limits().max_lora_floats_per_row) {
    fail("the rank is {}; at most {}", options_.rank, runtime_.engine().limits().max_lora_floats_per_row);
  }
  later_parts_ = options_.prefill * kPrefillSeconds + options_.decode * kDecodeSeconds +
                 options_.mixed * kMixedSeconds + options_.tax * (options_.adapters > 0) * kTaxSeconds;
}

void Benchmark::make_adapters() {
  begin_part("adapters", 0, 0);
  for (int i = 0; i < options_.adapters; ++i) {
    AdapterHandle exact =
        random_adapter(runtime_.model().config, options_.rank, static_cast<uint64_t>(i) + 1);
    adapters_.push_back(options_.exact ? std::move(exact) : to_int8(*exact));
    tell();
  }
}

Request Benchmark::request(int index, int prompt, int output, bool adapted) const {
  std::mt19937_64 random(static_cast<uint64_t>(index));
  const auto vocab = static_cast<uint64_t>(runtime_.model().config.vocab);
  Request request;
  for (int i = 0; i < prompt; ++i) request.prompt.push_back(static_cast<int32_t>(random() % vocab));
  if (adapted && !adapters_.empty()) {
    request.adapters = {{adapters_[static_cast<size_t>(index) % adapters_.size()], 1}};
  }
  request.sampling.temperature = 0;
  request.max_tokens = output;
  request.ignore_stop_ids = true;
  return request;
}

std::vector<Request> Benchmark::requests(int count, int prompt, int output, bool adapted) const {
  std::vector<Request> all;
  for (int i = 0; i < count; ++i) all.push_back(request(i, prompt, output, adapted));
  return all;
}

Run Benchmark::run_requests(const std::vector<Request>& requests) {
  Engine& engine = runtime_.engine();
  Run run;
  run.answers.resize(requests.size());
  const std::string tenant = std::to_string(runs_++);
  std::string error;
  std::map<uint64_t, std::vector<int32_t>*> answers;
  const EventSink sink = [&](const TokenEvent& event) {
    if (event.finish == FinishReason::kError) error = event.error;
    if (event.token >= 0) answers.at(event.request)->push_back(event.token);
  };
  const Stopwatch whole(report_.threads);
  for (size_t i = 0; i < requests.size(); ++i) {
    Request request = requests[i];
    request.tenant = tenant;
    answers[engine.submit(std::move(request))] = &run.answers[i];
  }
  while (!engine.idle()) {
    const uint64_t prefilled = engine.stats().prefill_tokens;
    const Stopwatch step(report_.threads);
    engine.step(sink);
    if (engine.stats().prefill_tokens == prefilled) run.decode_steps.push_back(step.stop());
    if (!error.empty()) fail("{}", error);
    tell();
  }
  run.whole = whole.stop();
  return run;
}

void Benchmark::measure_prefill() {
  begin_part("prefill", kPrefillSeconds, kPrefillSeconds);
  const std::vector<Request> one = requests(1, options_.prompt, 1, false);
  run_requests(one);  // brings weights and pages into memory
  std::vector<double> rates;
  std::vector<Sample> samples;
  repeat(kPrefillSeconds, [&] {
    for (int i = 0; i < kPeakTries; ++i) rates.push_back(runtime_.runner().int8_rate());
    samples.push_back(run_requests(one).whole);
    return summarize(samples).clean_samples;
  });
  report_.int8_rate = median(rates);
  report_.prefill = summarize(samples);
}

std::vector<DecodeCase> Benchmark::decode_cases() {
  const int prompt = std::max(options_.depth, 1), output = options_.output, many = options_.requests;
  std::vector<DecodeCase> cases = {{&report_.decode, requests(1, prompt, output, false), 0, {}},
                                   {&report_.decode_batch, requests(many, prompt, output, false), 0, {}}};
  if (!adapters_.empty()) {
    cases.push_back({&report_.decode_adapters, requests(many, prompt, output, true), options_.adapters, {}});
  }
  return cases;
}

void Benchmark::measure_decode() {
  begin_part("decode", kDecodeSeconds, kDecodeSeconds);
  report_.peak_bytes = std::max(report_.peak_bytes, peak_resident_bytes());
  Buffer<std::byte> data(kReadBytes);
  std::memset(data.data(), 1, data.bytes());
  std::vector<DecodeCase> cases = decode_cases();
  std::vector<double> rates;
  int runs = 0;
  repeat(kDecodeSeconds, [&] {
    for (DecodeCase& c : cases) {
      for (int i = 0; i < kPeakTries; ++i) rates.push_back(runtime_.runner().read_rate(data.span()));
      const Run run = run_requests(c.requests);
      c.steps.insert(c.steps.end(), run.decode_steps.begin(), run.decode_steps.end());
    }
    return ++runs;
  });
  report_.read_rate = median(rates);
  for (const DecodeCase& c : cases) {
    *c.figure = {static_cast<int>(c.requests.size()), c.adapters, summarize(c.steps)};
  }
  data = {};
  reset_peak_resident();  // the buffer was ours, not the model's
}

// Once the batch and once one after the other, by what has been measured.
double Benchmark::mixed_seconds() const {
  const double prefills = options_.requests * report_.prefill.seconds;
  const double batch = prefills + options_.output * report_.decode_batch.step.seconds;
  const double alone = prefills + options_.requests * options_.output * report_.decode.step.seconds;
  return std::max(kMixedSeconds, batch + std::min(alone, kMixedSeconds));
}

void Benchmark::measure_mixed() {
  begin_part("mixed batch", kMixedSeconds, mixed_seconds());
  const std::vector<Request> all = requests(options_.requests, options_.prompt, options_.output, true);
  std::vector<Sample> together, alone;
  repeat(kMixedSeconds, [&] {
    const Run batch = run_requests(all);
    together.push_back(batch.whole);
    const Stopwatch watch(report_.threads);
    size_t done = 0;
    while (done < all.size() && watch.seconds() < kMixedSeconds) {
      const Run one = run_requests({all[done]});
      report_.answers_equal = report_.answers_equal && one.answers[0] == batch.answers[done];
      ++done;
    }
    alone.push_back(watch.stop());
    alone.back().seconds *= static_cast<double>(all.size()) / static_cast<double>(done);
    return std::min(summarize(together).clean_samples, summarize(alone).clean_samples);
  });
  report_.batch = summarize(together);
  report_.one_by_one = summarize(alone);
}

void Benchmark::measure_tax() {
  begin_part("LoRA tax", kTaxSeconds, kTaxSeconds);
  LoraTax& tax = report_.tax;
  tax.rows = options_.requests;
  tax.context = std::min(options_.prompt + options_.output, 128);
  StepLoop loop(runtime_, tax.rows, tax.context);
  struct Case {
    Figure* figure;
    int rows;
    std::vector<LoraSegment> segments;
    std::vector<Sample> steps;
  };
  const Adapter* first = adapters_.front().get();
  std::vector<LoraSegment> each_row;
  for (int row = 0; row < tax.rows; ++row) {
    each_row.push_back({adapters_[static_cast<size_t>(row) % adapters_.size()].get(), row, row + 1, 1});
  }
  std::vector<Case> cases = {{&tax.base, tax.rows, {}, {}},
                             {&tax.all_rows, tax.rows, {{first, 0, tax.rows, 1}}, {}},
                             {&tax.one_row, tax.rows, {{first, tax.rows - 1, tax.rows, 1}}, {}},
                             {&tax.many, tax.rows, each_row, {}}};
  if (tax.rows > 1) cases.push_back({&tax.no_neighbour, tax.rows - 1, {}, {}});
  constexpr int kSteps = 5;  // of each case in turn; the first finds the caches full of another's
  constexpr int kRounds = 15;
  const Stopwatch watch(1);
  for (int round = 0; round == 0 || (round < kRounds && watch.seconds() < kTaxSeconds); ++round) {
    for (Case& c : cases) {
      for (int i = 0; i < kSteps; ++i) {
        const Stopwatch step(report_.threads);
        loop.step(c.rows, c.segments);
        if (i > 0) c.steps.push_back(step.stop());
      }
    }
    tell();
  }
  for (const Case& c : cases) *c.figure = summarize(c.steps);
}

void Benchmark::measure_memory() {
  report_.peak_bytes = std::max(report_.peak_bytes, peak_resident_bytes());
  report_.weights_bytes = runtime_.model().bytes();
  report_.kv_bytes = runtime_.kv_bytes();
  for (const AdapterHandle& adapter : adapters_) report_.adapter_bytes += adapter->bytes();
}

void Benchmark::begin_part(const char* name, double budget, double estimate) {
  part_ = name;
  part_end_ = watch_.seconds() + estimate;
  later_parts_ -= budget;
  tell();
}

void Benchmark::tell() {
  const double now = watch_.seconds();
  progress_({part_, now, std::max(part_end_ - now, 0.0) + later_parts_});
}

}  // namespace

RuntimeOptions benchmark_runtime(const BenchmarkOptions& options) {
  RuntimeOptions runtime;
  constexpr int kLeast = 256;  // what a Runtime asks for
  runtime.context_length =
      std::max({options.prompt + options.output, options.depth + 1 + options.output, kLeast});
  runtime.max_sequences = options.requests;
  runtime.kv_bytes = size_t{1} << 40;  // as many pages as these sequences can fill
  return runtime;
}

BenchmarkReport run_benchmark(Runtime& runtime, const BenchmarkOptions& options,
                              const std::function<void(const BenchmarkProgress&)>& progress) {
  return Benchmark(runtime, options, progress).run();
}

}  // namespace chorus
