#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "cli/commands.h"
#include "cli/common.h"
#include "engine/benchmark_report.h"

namespace chorus {
namespace {

struct BenchFlags {
  RuntimeFlags runtime;
  BenchmarkOptions options;
  std::vector<std::string> only;
  bool json = false;
};

const std::vector<std::string> kParts = {"prefill", "decode", "mixed", "tax"};

// The part that runs, on stderr: one line rewritten on a terminal, else a line every few seconds.
class ProgressLine {
 public:
  void show(const BenchmarkProgress& progress) {
    if (progress.seconds < next_) return;
    next_ = progress.seconds + (terminal_ ? 0.2 : 5);
    const std::string text = fmt::format("{}: {:.0f} s, about {:.0f} s left", progress.part, progress.seconds,
                                         progress.seconds_left);
    std::fprintf(stderr, terminal_ ? "\r\033[K%s" : "%s\n", text.c_str());
  }
  void clear() const {
    if (terminal_) std::fputs("\r\033[K", stderr);
  }

 private:
  const bool terminal_ = isatty(STDERR_FILENO) != 0;
  double next_ = 0.2;
};

int bench(const BenchFlags& flags) {
  BenchmarkOptions options = flags.options;
  const auto wanted = [&](const std::string& part) {
    return flags.only.empty() || std::ranges::find(flags.only, part) != flags.only.end();
  };
  options.prefill = wanted(kParts[0]);
  options.decode = wanted(kParts[1]);
  options.mixed = wanted(kParts[2]);
  options.tax = wanted(kParts[3]);
  options.exact = flags.runtime.exact;
  const std::unique_ptr<Runtime> runtime = open_base(flags.runtime, benchmark_runtime(options));
  ProgressLine line;
  const BenchmarkReport report =
      run_benchmark(*runtime, options, [&](const BenchmarkProgress& progress) { line.show(progress); });
  line.clear();
  std::cout << (flags.json ? json::serialize(benchmark_json(report)) + "\n" : benchmark_table(report));
  return report.answers_equal ? 0 : 1;
}

}  // namespace

void add_bench_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand(
      "bench", "Measure prefill, decode, mixed batches and LoRA's share, beside what this machine can do");
  command->footer(
      "Example: chorus bench smollm2 --adapters 8 --rank 16 --prompt 128\n"
      "Medians; a sample is clean if the program had its processors for 97 % of the time.");
  auto flags = std::make_shared<BenchFlags>();
  BenchmarkOptions& options = flags->options;
  add_runtime_flags(*command, flags->runtime);
  const auto add_number = [&](const char* name, int& value, int least, int most, const char* what) {
    command->add_option(name, value, what)->check(CLI::Range(least, most))->capture_default_str();
  };
  add_number("--adapters", options.adapters, 0, 256, "Random adapters on all linears");
  add_number("--rank", options.rank, 1, 512, "Their rank");
  add_number("--prompt", options.prompt, 1, 1 << 20, "Tokens of each request's prompt");
  add_number("--output", options.output, 2, 1 << 20, "Tokens of each answer");
  add_number("--requests", options.requests, 1, 256, "Requests in a batch");
  add_number("--depth", options.depth, 0, 1 << 20, "Tokens before a decode that is measured by itself");
  command->add_option("--only", flags->only, "Parts to run: prefill, decode, mixed, tax")
      ->delimiter(',')
      ->check(CLI::IsMember(kParts));
  command->add_flag("--json", flags->json, "One JSON document instead of the table");
  command->callback([=, &exit_code] { exit_code = bench(*flags); });
}

}  // namespace chorus
