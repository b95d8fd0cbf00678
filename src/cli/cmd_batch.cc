#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <iostream>
#include <unordered_map>

#include "base/mapped_file.h"
#include "base/sha256.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "server/api_model.h"
#include "server/batch_output.h"
#include "server/batch_runner.h"

namespace chorus {
namespace {

using Clock = std::chrono::steady_clock;

struct BatchFlags {
  ModelFlags model;
  std::string input, output;
  bool compare = false, json = false;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double rate(uint64_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

// Where the run is, on stderr: one line rewritten on a terminal, else a line every few seconds.
class ProgressLine {
 public:
  explicit ProgressLine(const Engine& engine)
      : engine_(engine),
        tokens_before_(engine.stats().decode_tokens),
        terminal_(isatty(STDERR_FILENO) != 0) {}

  void show(const BatchCounts& counts) {
    const double seconds = seconds_since(start_);
    if (seconds < next_) return;
    next_ = seconds + (terminal_ ? 0.2 : 5);
    const double left = counts.done == 0 ? 0
                                         : seconds * static_cast<double>(counts.total - counts.done) /
                                               static_cast<double>(counts.done);
    const std::string text = fmt::format("{}/{} requests, {:.1f} tok/s{}", counts.done, counts.total,
                                         rate(engine_.stats().decode_tokens - tokens_before_, seconds),
                                         counts.done == 0 ? "" : fmt::format(", {:.0f} s left", left));
    std::fprintf(stderr, terminal_ ? "\r\033[K%s" : "%s\n", text.c_str());
  }
  void clear() const {
    if (terminal_) std::fputs("\r\033[K", stderr);
  }
  double seconds() const { return seconds_since(start_); }

 private:
  const Engine& engine_;
  const uint64_t tokens_before_;
  const bool terminal_;
  const Clock::time_point start_ = Clock::now();
  double next_ = 0.2;
};

struct RunReport {
  bool complete = false;
  BatchCounts counts;
  double seconds = 0;
  uint64_t prefix_hit_tokens = 0;
  double tokens_per_second() const { return rate(counts.output_tokens, seconds); }
};

RunReport run_lines(Runtime& runtime, const ApiModel& model, std::span<const BatchLine> lines,
                    const std::unordered_set<size_t>& skip, BatchOptions options,
                    std::function<void(const BatchResult&)> on_result) {
  const uint64_t hits_before = runtime.engine().stats().prefix_hit_tokens;
  ProgressLine progress(runtime.engine());
  const BatchHooks hooks{std::move(on_result), [&](const BatchCounts& counts) { progress.show(counts); },
                         [] { return interrupted(); }};
  BatchRunner runner(runtime.engine(), model, hooks, std::move(options));
  RunReport report;
  report.complete = runner.run(lines, skip);
  report.seconds = progress.seconds();
  progress.clear();
  report.counts = runner.counts();
  report.prefix_hit_tokens = runtime.engine().stats().prefix_hit_tokens - hits_before;
  return report;
}

// What a partial result belongs to: these requests to this model with these adapters.
std::string fingerprint(Runtime& runtime, std::string_view input) {
  Sha256 hash;
  hash.add(input);
  hash.add(runtime.engine().config().model_id);
  for (const std::string& name : runtime.adapters().names()) {
    const AdapterHandle adapter = runtime.adapters().find(name);
    hash.add(fmt::format("\n{}={} {}", name, adapter->id(), static_cast<int>(adapter->form())));
  }
  return to_hex(hash.finish());
}

json::object summary_json(const RunReport& report, size_t resumed) {
  return {{"requests", report.counts.done},
          {"failed", report.counts.failed},
          {"resumed", resumed},
          {"complete", report.complete},
          {"prompt_tokens", report.counts.prompt_tokens},
          {"output_tokens", report.counts.output_tokens},
          {"seconds", report.seconds},
          {"tokens_per_second", report.tokens_per_second()},
          {"prefix_hit_tokens", report.prefix_hit_tokens}};
}

void print_summary(const char* title, const RunReport& report, size_t resumed) {
  const std::string text = fmt::format(
      "{}: {} requests ({} failed{}), {} prompt and {} output tokens in {:.1f} s: {:.1f} tok/s, {} prompt "
      "tokens from the prefix cache\n",
      title, report.counts.done, report.counts.failed,
      resumed == 0 ? "" : fmt::format(", {} more done before", resumed), report.counts.prompt_tokens,
      report.counts.output_tokens, report.seconds, report.tokens_per_second(), report.prefix_hit_tokens);
  std::fputs(text.c_str(), stderr);
}

// Runs the same requests one after the other and adds what came of it to `summary`. False: an answer differs.
// Under its own tenant, as it must not find the prompts that the batch has computed.
bool compare(Runtime& runtime, const ApiModel& model, std::span<const BatchLine> lines,
             const std::unordered_set<size_t>& skip, const BatchOptions& batch_options,
             const RunReport& batch, const std::unordered_map<size_t, std::string>& answers,
             json::object& summary) {
  BatchOptions options = batch_options;
  options.one_by_one = true;
  options.tenant = "one-by-one";
  json::array different;
  const RunReport alone = run_lines(runtime, model, lines, skip, options, [&](const BatchResult& result) {
    if (answers.at(result.line) == result.answer) return;
    different.push_back(json::value(result.custom_id));
    std::fprintf(stderr, "different when run alone: line %zu\n", result.line);
  });
  print_summary("one by one", alone, 0);
  if (!alone.complete) std::fputs("interrupted: the comparison is not complete\n", stderr);
  const double ratio =
      alone.tokens_per_second() > 0 ? batch.tokens_per_second() / alone.tokens_per_second() : 0;
  const bool equal = different.empty() && alone.complete;
  std::fputs(
      fmt::format("in one batch: {:.1f} tok/s; one by one: {:.1f} tok/s; ratio {:.2f}; {} of {} answers "
                  "differ\n",
                  batch.tokens_per_second(), alone.tokens_per_second(), ratio, different.size(),
                  alone.counts.done)
          .c_str(),
      stderr);
  summary["one_by_one"] = summary_json(alone, 0);
  summary["ratio"] = ratio;
  summary["different"] = std::move(different);
  return equal;
}

int run_batch(const BatchFlags& flags) {
  const MappedFile file(flags.input);
  const std::string_view input(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  const std::unique_ptr<Runtime> runtime = open_runtime(flags.model);
  const ApiModel model = api_model(*runtime);
  const std::vector<BatchLine> lines = split_batch_lines(input);
  BatchOutput output(flags.output, fingerprint(*runtime, input));
  const std::unordered_set<size_t> finished = output.finished();
  install_interrupt_handler();

  BatchOptions options;
  options.created = std::time(nullptr);
  std::unordered_map<size_t, std::string> answers;
  const RunReport report =
      run_lines(*runtime, model, lines, finished, options, [&](const BatchResult& result) {
        output.add(result);
        if (flags.compare) answers[result.line] = result.answer;
      });
  print_summary("batch", report, finished.size());
  json::object summary = summary_json(report, finished.size());
  bool good = report.complete;
  if (report.complete) {
    output.commit();
    if (flags.compare) good = compare(*runtime, model, lines, finished, options, report, answers, summary);
  } else {
    std::fprintf(stderr, "interrupted: the results so far are in %s; run the same command to go on\n",
                 printable(output.partial_path(), 300).c_str());
  }
  if (flags.json) std::cout << json::serialize(summary) << '\n';
  return good ? 0 : 1;
}

}  // namespace

void add_batch_command(CLI::App& app, int& exit_code) {
  CLI::App* command =
      app.add_subcommand("batch", "Answer a file of requests, all in continuous mixed batches");
  command->footer(
      "Example: chorus batch smollm2 requests.jsonl results.jsonl --adapters adapters\n"
      "A line: "
      "{\"custom_id\":\"1\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{\"model\":\"elf\","
      "\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}}\n"
      "A request without a seed gets one from its custom_id, so that a rerun gives the same answers.");
  auto flags = std::make_shared<BatchFlags>();
  add_model_flags(*command, flags->model);
  command->add_option("IN", flags->input, "Requests, in OpenAI's batch file format")->required();
  command->add_option("OUT", flags->output, "Where the results go, a line for each request")->required();
  command->add_flag("--compare", flags->compare,
                    "Then run the requests one after the other: the answers must be equal byte for byte");
  command->add_flag("--json", flags->json, "The summary as JSON on stdout");
  command->callback([=, &exit_code] { exit_code = run_batch(*flags); });
}

}  // namespace chorus
