#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "engine/engine.h"
#include "server/completion.h"

namespace chorus {

// One line of a batch file that is not blank.
struct BatchLine {
  size_t number = 0;  // from 1, blank lines counted
  std::string_view text;
};
std::vector<BatchLine> split_batch_lines(std::string_view text);

struct BatchResult {
  size_t line = 0;        // its number
  std::string custom_id;  // empty: the line has none that could be read
  bool failed = false;
  std::string json;    // the result line, without its end
  std::string answer;  // choices and usage, which a rerun gives again byte for byte; empty if failed
};

struct BatchCounts {
  size_t total = 0, done = 0, failed = 0;  // lines: `done` has a result, `failed` of these an error
  uint64_t prompt_tokens = 0, output_tokens = 0;
};

struct BatchOptions {
  bool one_by_one = false;  // the next only when nothing runs
  std::string tenant;       // prefixes are shared with runs of the same tenant only
  int64_t created = 0;      // of every answer
};

// All are called on the thread of run(); `result` and `progress` may throw, which ends the run.
struct BatchHooks {
  std::function<void(const BatchResult& result)> result;
  std::function<void(const BatchCounts& counts)> progress;  // after every step
  std::function<bool()> stop;                               // true: end now; what runs is cancelled
};

// Answers the lines of an OpenAI batch file, each
// {"custom_id", "method": "POST", "url": "/v1/chat/completions" or "/v1/completions", "body"}, in as few and
// full steps as the engine allows. Each line gives one result: {"id", "custom_id", "response":
// {"status_code", "body"}, "error": null}, or with "response": null and why in "error"; a bad line ends
// nothing but itself. "id" is "batch_req_" and the line's number. A request without a seed draws from one
// made of its custom_id, so that a rerun gives the same answers. Streaming is refused.
class BatchRunner {
 public:
  // The engine must be idle, and nobody else may use it while run() runs.
  BatchRunner(Engine& engine, const ApiModel& model, BatchHooks hooks, BatchOptions options = {});
  ~BatchRunner();

  // Lines whose number is in `skip` are left out. False: stopped before the end.
  bool run(std::span<const BatchLine> lines, const std::unordered_set<size_t>& skip = {});
  const BatchCounts& counts() const { return counts_; }

 private:
  struct Job;
  void feed(std::span<const BatchLine>& lines, const std::unordered_set<size_t>& skip);
  std::unique_ptr<Job> read(const BatchLine& line, const std::unordered_set<size_t>& skip);
  bool submit(Job& job);
  bool submit_prompts(Job& job);
  void take(const TokenEvent& event);
  void report_finished();
  void report(const Job& job);
  void report_error(const Job& job, const ApiError& error);
  void emit(BatchResult result);
  void cancel(Job& job);
  void cancel_all();
  bool room() const;

  Engine& engine_;
  const ApiModel& model_;
  const BatchHooks hooks_;
  const BatchOptions options_;
  BatchCounts counts_;
  std::unordered_set<std::string> seen_;    // custom_ids
  std::vector<std::unique_ptr<Job>> jobs_;  // in the order of the lines; all but the last wholly submitted
  std::unordered_map<uint64_t, Completion*> running_;
};

}  // namespace chorus
