#include "cli/common.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "base/error.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

// The one variable of the process: a signal handler can reach nothing else.
volatile std::sig_atomic_t interrupt_flag = 0;

void on_interrupt(int) {
  if (interrupt_flag != 0) std::_Exit(130);
  interrupt_flag = 1;
}

fs::path cache_directory() {
  if (const char* cache = std::getenv("CHORUS_CACHE"); cache != nullptr && *cache != '\0') return cache;
  const char* home = std::getenv("HOME");
  return fs::path(home == nullptr ? "." : home) / ".cache" / "chorus";
}

std::string describe(const AdapterInfo& adapter) {
  const bool int8 = adapter.form == AdapterForm::kInt8;
  std::string text = fmt::format("adapter {}: {}, {:.1f} MB", adapter.name, int8 ? "int8" : "exact",
                                 static_cast<double>(adapter.bytes) / 1e6);
  if (!adapter.divergence) return text;
  return text + fmt::format(", int8 is {:.6f} nats from exact", *adapter.divergence);
}

// "auto": none.
std::optional<KvType> kv_type_named(const std::string& name) {
  if (name == "f32") return KvType::kF32;
  if (name == "f16") return KvType::kF16;
  if (name == "int8") return KvType::kI8;
  return std::nullopt;
}

}  // namespace

void add_runtime_flags(CLI::App& command, RuntimeFlags& flags) {
  command.add_option("MODEL", flags.model, "GGUF file, Hugging Face directory, or a name in the cache")
      ->required();
  command.add_option("--threads", flags.threads, "Threads; 0: one per physical core")
      ->check(CLI::Range(0, 256));
  command.add_option("--cpus", flags.cpus, "Bind the threads to these CPUs, as 0-3,6")->type_name("LIST");
  command
      .add_option("--kv-type", flags.kv_type, "What keys and values are kept as; int8 halves f16's memory")
      ->check(CLI::IsMember({"auto", "f32", "f16", "int8"}))
      ->capture_default_str();
  command.add_flag(
      "--exact", flags.exact,
      "16-bit inputs of all products, adapters as in their files: slower, nearest to the model in f32");
  command.add_flag("--no-cache", flags.no_cache,
                   "Do not keep the packed model in the cache for the next start, nor use one that is there");
}

void add_model_flags(CLI::App& command, ModelFlags& flags) {
  add_runtime_flags(command, flags);
  command.add_option("--adapter", flags.adapters, "An adapter, as NAME=PATH; may be repeated")
      ->type_name("NAME=PATH");
  command.add_option("--adapters", flags.adapter_directory, "Load every adapter in this directory")
      ->type_name("DIR");
  command.add_option("--kv-memory", flags.kv_memory, "Memory for keys and values, in MiB")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command.add_option("--context", flags.context, "Longest sequence in tokens; 0: the model's own")
      ->check(CLI::Range(0, 1 << 24));
}

std::string model_path(const std::string& name) {
  if (fs::exists(name)) return name;
  const bool plain = name.find('/') == std::string::npos;
  const fs::path cached = cache_directory() / (name + ".gguf");
  if (plain && fs::exists(cached)) return cached;
  if (plain)
    fail("no model \"{}\": there is no such file or directory, and no {}", printable(name), cached.string());
  fail("{}: no such file or directory", printable(name, 300));
}

std::string packed_cache(const RuntimeFlags& flags) {
  return flags.no_cache ? std::string() : (cache_directory() / "packed").string();
}

std::unique_ptr<Runtime> open_base(const RuntimeFlags& flags, RuntimeOptions options) {
  options.threads = flags.threads;
  if (!flags.cpus.empty()) options.cpus = parse_cpus(flags.cpus);
  if (!options.cpus.empty() && flags.threads > static_cast<int>(options.cpus.size()))
    fail("--threads {}: --cpus names only {}", flags.threads, options.cpus.size());
  options.kv_type = kv_type_named(flags.kv_type);
  options.exact = flags.exact;
  options.packed_cache = packed_cache(flags);
  auto runtime = std::make_unique<Runtime>(model_path(flags.model), options);
  if (!runtime->cache_problem().empty()) {
    std::fprintf(stderr, "chorus: the packed model is not kept for the next start: %s\n",
                 runtime->cache_problem().c_str());
  }
  return runtime;
}

std::unique_ptr<Runtime> open_runtime(const ModelFlags& flags, RuntimeOptions options) {
  options.kv_bytes = static_cast<size_t>(flags.kv_memory) << 20;
  options.context_length = flags.context;
  std::unique_ptr<Runtime> runtime = open_base(flags, std::move(options));
  if (!flags.adapter_directory.empty()) runtime->adapters().load_directory(flags.adapter_directory);
  for (const std::string& adapter : flags.adapters) runtime->adapters().load_flag(adapter);
  for (const AdapterInfo& adapter : runtime->adapters().infos()) {
    fmt::print(stderr, "{}\n", describe(adapter));
    for (const std::string& warning : adapter.warnings) warn_of_adapter(adapter.name, warning);
  }
  return runtime;
}

void warn_of_adapter(const std::string& name, const std::string& warning) {
  fmt::print(stderr, "chorus: adapter {}: {}\n", name, warning);
}

void flush_output() {
  if (!std::cout.flush()) fail("cannot write to the standard output");
}

CLI::Validator number_in(double min, double max) {
  const auto check = [=](const std::string& text) -> std::string {
    double value = 0;
    const bool good = CLI::detail::lexical_cast(text, value) && value >= min && value <= max;
    return good ? "" : fmt::format("{} is not a number in {}..{}", printable(text), min, max);
  };
  return CLI::Validator(check, fmt::format("in {}..{}", min, max));
}

void install_interrupt_handler() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() { return interrupt_flag != 0; }
void clear_interrupt() { interrupt_flag = 0; }

}  // namespace chorus
