#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "engine/runtime.h"

namespace chorus {

// Flags that every command with a model shares.
struct ModelFlags {
  std::string model;
  std::vector<std::string> adapters;  // NAME=PATH
  std::string adapter_directory;
  int threads = 0;
  std::string cpus;
  int kv_memory = 512;  // MiB
  std::string kv_type = "auto";
  int context = 0;
  bool no_cache = false;
  bool exact = false;
};

// Adds the positional MODEL and the flags above.
void add_model_flags(CLI::App& command, ModelFlags& flags);

// The file or directory of a model: a path, or a name in the cache (CHORUS_CACHE, else ~/.cache/chorus).
std::string model_path(const std::string& name);

// Loads model and adapters.
std::unique_ptr<Runtime> open_runtime(const ModelFlags& flags, RuntimeOptions options = {});

// Error: what was written to the standard output has not all arrived.
void flush_output();

// A check for a flag: a number in [min, max], which NaN is not.
CLI::Validator number_in(double min, double max);

// Ctrl-C: the first sets a flag for the work to notice, the second ends the process.
void install_interrupt_handler();
bool interrupted();
void clear_interrupt();

}  // namespace chorus
