#pragma once

#include <functional>
#include <string>

#include "engine/runtime.h"
#include "engine/samples.h"

namespace chorus {

struct BenchmarkOptions {
  int prompt = 1000, output = 100;  // tokens of each request
  int requests = 8;
  int adapters = 8, rank = 16;  // random ones, on all linears; 0 adapters: what needs them is left out
  bool exact = false;           // the adapters as files have them, else their int8 form
  int depth = 0;                // tokens in the cache before a decode that is measured by itself
  bool prefill = true, decode = true, mixed = true, tax = true;  // which parts to run
};

// Steps of the same kind, one after the other: what they take, sampling included.
struct DecodeFigure {
  int rows = 0, adapters = 0;
  Figure step;
};

// A step of `rows` rows without sampling, the cases in turn, `context` positions each.
struct LoraTax {
  int rows = 0, context = 0;
  Figure base;          // no adapter
  Figure all_rows;      // one adapter on all rows
  Figure one_row;       // one adapter on the last row
  Figure many;          // the adapters in turn, a row each
  Figure no_neighbour;  // all rows but the last, no adapter
};

struct BenchmarkReport {
  BenchmarkOptions options;
  std::string model, kernels, int8_unit;
  int threads = 0;
  // What the work takes at least.
  double row_products = 0;           // of one row with the layers' linears
  double head_products = 0;          // of one row with the head
  double lora_products = 0;          // of one row with an adapter
  double step_bytes = 0;             // weights that a step reads
  double kv_bytes_per_position = 0;  // that a row reads of its context
  // The machine, beside the prefill and beside the decodes; 0: not measured.
  double int8_rate = 0, read_rate = 0;

  Figure prefill;  // of one prompt to its first token
  DecodeFigure decode, decode_batch, decode_adapters;
  Figure batch, one_by_one;  // all requests over the adapters together, and one after the other
  bool answers_equal = true;
  LoraTax tax;

  size_t peak_bytes = 0;  // resident, since the process began, loading included
  size_t weights_bytes = 0, kv_bytes = 0, adapter_bytes = 0;
};

struct BenchmarkProgress {
  const char* part = "";
  double seconds = 0, seconds_left = 0;  // an estimate
};

// How a model has to be opened for it: as usual, with just the context and the sequences that these need.
RuntimeOptions benchmark_runtime(const BenchmarkOptions& options);

// Measures; see BenchmarkReport. Synthetic greedy requests of random tokens with a fixed seed that ignore
// stop ids. What is to be compared is run in turn, a few times within some seconds for each part, at least
// once. `progress` is called between steps. Error: requests that the model's context or the engine's limits
// do not allow.
BenchmarkReport run_benchmark(Runtime& runtime, const BenchmarkOptions& options,
                              const std::function<void(const BenchmarkProgress&)>& progress);

}  // namespace chorus
