#include "server/batch_runner.h"

#include <algorithm>
#include <utility>

#include "base/sha256.h"
#include "server/openai_response.h"

namespace chorus {
namespace {

constexpr size_t kMaxCustomIdBytes = 512;

uint64_t seed_of(std::string_view custom_id) {
  Sha256 hash;
  hash.add(custom_id);
  const Digest digest = hash.finish();
  uint64_t seed = 0;
  for (size_t i = 0; i < sizeof seed; ++i) seed = seed << 8 | std::to_integer<uint64_t>(digest[i]);
  return seed;
}

json::object parse_line(const BatchLine& line) {
  try {
    json::value value = parse_json(line.text, fmt::format("input line {}", line.number));
    if (value.is_object()) return std::move(value.get_object());
  } catch (const Error& error) {
    refuse("", "{}", error.what());
  }
  refuse("", "input line {} is no JSON object", line.number);
}

std::string read_custom_id(const json::object& object, size_t line) {
  const json::value* value = find_field(object, "custom_id");
  if (value == nullptr) refuse("custom_id", "input line {}: custom_id is missing", line);
  const std::string_view id = read_string(*value, "custom_id");
  if (id.empty() || id.size() > kMaxCustomIdBytes)
    refuse("custom_id", "input line {}: custom_id has {} bytes; it must have 1 to {}", line, id.size(),
           kMaxCustomIdBytes);
  return std::string(id);
}

Endpoint read_endpoint(const json::object& object) {
  const json::value* method = find_field(object, "method");
  if (method == nullptr || read_string(*method, "method") != "POST") refuse("method", "method must be POST");
  const json::value* url = find_field(object, "url");
  const std::string_view path = url == nullptr ? "" : read_string(*url, "url");
  if (path == "/v1/chat/completions") return Endpoint::kChat;
  if (path == "/v1/completions") return Endpoint::kCompletions;
  refuse("url", "url must be /v1/chat/completions or /v1/completions");
}

ApiRequest read_request(const json::object& object, const std::string& custom_id, const ApiModel& model) {
  const Endpoint endpoint = read_endpoint(object);
  const json::value* body = find_field(object, "body");
  if (body == nullptr) refuse("body", "body is missing");
  const json::object& fields = read_body(*body, endpoint);
  AdapterRequest wanted = read_adapter_request(fields, model.names);
  AdapterSelection adapters = model.acquire(wanted);
  ApiRequest api =
      read_api_request(fields, endpoint, model, std::move(wanted), std::move(adapters), seed_of(custom_id));
  if (api.stream) refuse("stream", "stream is not supported in a batch file");
  return api;
}

}  // namespace

std::vector<BatchLine> split_batch_lines(std::string_view text) {
  std::vector<BatchLine> lines;
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) lines.push_back({number, line});
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

struct BatchRunner::Job {
  BatchLine line;
  std::string custom_id;
  ApiRequest api;
  std::vector<Completion> completions;  // one for each prompt; they refer to `api`
  std::vector<uint64_t> ids;            // of the prompts submitted so far

  bool submitted() const { return ids.size() == completions.size(); }
  bool done() const {
    return submitted() && std::ranges::all_of(completions, [](const Completion& c) { return c.done(); });
  }
};

BatchRunner::BatchRunner(Engine& engine, const ApiModel& model, BatchHooks hooks, BatchOptions options)
    : engine_(engine), model_(model), hooks_(std::move(hooks)), options_(std::move(options)) {}

// After an exception of a hook, requests may still run that refer to nobody.
BatchRunner::~BatchRunner() { cancel_all(); }

bool BatchRunner::run(std::span<const BatchLine> lines, const std::unordered_set<size_t>& skip) {
  counts_.total = static_cast<size_t>(
      std::ranges::count_if(lines, [&](const BatchLine& line) { return !skip.contains(line.number); }));
  for (;;) {
    if (hooks_.stop && hooks_.stop()) {
      cancel_all();
      return false;
    }
    feed(lines, skip);
    if (lines.empty() && jobs_.empty()) break;
    engine_.step([this](const TokenEvent& event) { take(event); });
    report_finished();
    if (hooks_.progress) hooks_.progress(counts_);
  }
  cancel_all();  // what ran on behind a stop string
  return true;
}

// Whether another line should be read. Twice as many as run at once, so that none waits for the other; more
// would only make the step wait for their tokens.
bool BatchRunner::room() const {
  if (options_.one_by_one) return jobs_.empty() && engine_.idle();
  int samples = 0;
  for (const auto& job : jobs_) {
    for (const Completion& c : job->completions) samples += static_cast<int>(c.samples().size());
  }
  return samples < 2 * engine_.config().max_sequences;
}

void BatchRunner::feed(std::span<const BatchLine>& lines, const std::unordered_set<size_t>& skip) {
  if (!jobs_.empty() && !jobs_.back()->submitted() && !submit(*jobs_.back())) return;
  while (!lines.empty() && room()) {
    std::unique_ptr<Job> job = read(lines[0], skip);
    lines = lines.subspan(1);
    if (job == nullptr) continue;
    jobs_.push_back(std::move(job));
    if (!submit(*jobs_.back())) return;
  }
}

// Null: there is nothing to run, and if that is an error, it has been reported.
std::unique_ptr<BatchRunner::Job> BatchRunner::read(const BatchLine& line,
                                                    const std::unordered_set<size_t>& skip) {
  const bool skipped = skip.contains(line.number);
  auto job = std::make_unique<Job>();
  job->line = line;
  try {
    const json::object object = parse_line(line);
    job->custom_id = read_custom_id(object, line.number);
    if (!seen_.insert(job->custom_id).second)
      refuse("custom_id", "input line {}: its custom_id occurs before", line.number);
    if (skipped) return nullptr;
    job->api = read_request(object, job->custom_id, model_);
  } catch (const ApiError& error) {
    if (!skipped) report_error(*job, error);
    return nullptr;
  }
  job->completions.reserve(job->api.prompts.size());
  for (size_t i = 0; i < job->api.prompts.size(); ++i) {
    job->api.prompts[i].request.tenant = options_.tenant;
    job->completions.emplace_back(job->api, i, model_.tokenizer);
  }
  return job;
}

// Submits what the queue takes of the last job's prompts. False: the rest has to wait.
bool BatchRunner::submit(Job& job) {
  try {
    return submit_prompts(job);
  } catch (const Error& error) {
    cancel(job);
    report_error(job, ApiError(400, "invalid_request_error", error.what()));
    jobs_.pop_back();
    return true;
  }
}

bool BatchRunner::submit_prompts(Job& job) {
  while (!job.submitted()) {
    const size_t i = job.ids.size();
    try {
      job.ids.push_back(engine_.submit(job.api.prompts[i].request));
    } catch (const QueueFull&) {
      if (engine_.idle()) throw;  // it will never fit
      return false;
    }
    running_[job.ids.back()] = &job.completions[i];
  }
  return true;
}

void BatchRunner::take(const TokenEvent& event) {
  const auto found = running_.find(event.request);
  if (found == running_.end()) return;  // cancelled, and nobody waits for it
  Completion& completion = *found->second;
  const bool was_done = completion.done();
  completion.push(event);
  if (completion.ended()) {
    running_.erase(found);
  } else if (completion.done() && !was_done) {
    engine_.cancel(event.request);
  }
}

void BatchRunner::report_finished() {
  for (auto& job : jobs_) {
    if (!job->done()) continue;
    report(*job);
    cancel(*job);
    job.reset();
  }
  std::erase(jobs_, nullptr);
}

void BatchRunner::report(const Job& job) {
  for (const Completion& completion : job.completions) {
    if (const auto error = completion.error()) {
      report_error(job, *error);
      return;
    }
  }
  const ResponseId id{fmt::format("batch-{}", job.line.number), options_.created};
  json::object body = response_body(job.api, job.completions, id, model_.tokenizer);
  for (const Completion& completion : job.completions) {
    counts_.prompt_tokens += completion.prompt().request.prompt.size();
    counts_.output_tokens += static_cast<uint64_t>(completion.sampled_tokens());
  }
  BatchResult result{job.line.number, job.custom_id, false, "", ""};
  result.answer = json::serialize(body["choices"]) + json::serialize(body["usage"]);
  result.json = json::serialize(json::object{{"id", fmt::format("batch_req_{}", job.line.number)},
                                             {"custom_id", job.custom_id},
                                             {"response", {{"status_code", 200}, {"body", std::move(body)}}},
                                             {"error", nullptr}});
  emit(std::move(result));
}

void BatchRunner::report_error(const Job& job, const ApiError& error) {
  BatchResult result{job.line.number, job.custom_id, true, "", ""};
  result.json = json::serialize(
      json::object{{"id", fmt::format("batch_req_{}", job.line.number)},
                   {"custom_id", job.custom_id.empty() ? json::value(nullptr) : json::value(job.custom_id)},
                   {"response", nullptr},
                   {"error", error_object(error)}});
  ++counts_.failed;
  emit(std::move(result));
}

void BatchRunner::emit(BatchResult result) {
  ++counts_.done;
  if (hooks_.result) hooks_.result(result);
}

void BatchRunner::cancel(Job& job) {
  for (const uint64_t id : job.ids) {
    if (running_.erase(id) > 0) engine_.cancel(id);
  }
}

// Leaves the engine idle.
void BatchRunner::cancel_all() {
  for (auto& job : jobs_) {
    if (job != nullptr) cancel(*job);  // null: just reported
  }
  jobs_.clear();
  while (!engine_.idle()) engine_.step([](const TokenEvent&) {});
}

}  // namespace chorus
