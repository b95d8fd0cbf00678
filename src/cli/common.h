#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "engine/runtime.h"

namespace chorus {

// The model, and how this machine computes it.
struct RuntimeFlags {
  std::string model;
  int threads = 0;
  std::string cpus;
  std::string kv_type = "auto";
  bool exact = false;
  bool no_cache = false;
};

// Those, and what it serves: the flags of most commands with a model.
struct ModelFlags : RuntimeFlags {
  std::vector<std::string> adapters;  // NAME=PATH
  std::string adapter_directory;
  int kv_memory = 512;  // MiB
  int context = 0;
};

// Add the positional MODEL and the flags above.
void add_runtime_flags(CLI::App& command, RuntimeFlags& flags);
void add_model_flags(CLI::App& command, ModelFlags& flags);

// The file or directory of a model: a path, or a name in the cache (CHORUS_CACHE, else ~/.cache/chorus).
std::string model_path(const std::string& name);

// Where packed models are kept; empty: --no-cache.
std::string packed_cache(const RuntimeFlags& flags);

// Loads the model; `options` says what the flags leave open.
std::unique_ptr<Runtime> open_base(const RuntimeFlags& flags, RuntimeOptions options);
// Loads model and adapters.
std::unique_ptr<Runtime> open_runtime(const ModelFlags& flags, RuntimeOptions options = {});

// On stderr.
void warn_of_adapter(const std::string& name, const std::string& warning);

// Error: what was written to the standard output has not all arrived.
void flush_output();

// A check for a flag: a number in [min, max], which NaN is not.
CLI::Validator number_in(double min, double max);

// Ctrl-C and SIGTERM: the first sets a flag for the work to notice, the second ends the process.
void install_interrupt_handler();
bool interrupted();
void clear_interrupt();

}  // namespace chorus
