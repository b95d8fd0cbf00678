#include "cli/tune_server.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <optional>
#include <ranges>
#include <thread>

#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "cli/common.h"
#include "http/http_client.h"
#include "model/adapter_file.h"
#include "tuning/tune_data.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kJobs = "/v1/fine_tuning/jobs";
constexpr size_t kMaxData = size_t{1} << 30;
constexpr std::chrono::seconds kLook{1};
constexpr int kPatience = 60;  // looks at a server that does not answer: it may be starting again

std::string text(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

// A server's answer. Error: it refuses.
json::object answer_of(const HttpClient& client, const HttpAnswer& answer) {
  json::value body;
  try {
    body = parse_json(answer.body, "the answer");
  } catch (const Error&) {
    fail("{}: answers {} and no JSON: is it a chorus server?", client.url(), answer.status);
  }
  if (!body.is_object()) fail("{}: answers with no object", client.url());
  if (answer.status == 200) return std::move(body.get_object());
  const json::value* error = body.get_object().if_contains("error");
  const bool said = error != nullptr && error->is_object();
  fail("{}: {}", client.url(),
       said ? printable(text(error->get_object(), "message"), 1000)
            : fmt::format("answers {}", answer.status));
}

json::object get(const HttpClient& client, const std::string& path) {
  return answer_of(client, client.ask("GET", path));
}

// Returns the file's id.
std::string upload(const HttpClient& client, const std::string& path) {
  if (fs::is_directory(path))
    fail("{}: with --server, data are files, not directories", printable(path, 300));
  const std::string content = read_file(path, kMaxData);
  std::string boundary = "chorus-form";
  while (content.find(boundary) != std::string::npos) boundary += fmt::format("-{}", boundary.size());
  std::string name = fs::path(path).filename().string();
  std::ranges::replace_if(
      name, [](char c) { return c == '"' || c == '\\' || c == '\r' || c == '\n'; }, '_');
  const std::string body = fmt::format(
      "--{0}\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nfine-tune\r\n--{0}\r\n"
      "Content-Disposition: form-data; name=\"file\"; filename=\"{1}\"\r\n"
      "Content-Type: application/octet-stream\r\n\r\n{2}\r\n--{0}--\r\n",
      boundary, name, content);
  return text(
      answer_of(client, client.ask("POST", "/v1/files", "multipart/form-data; boundary=" + boundary, body)),
      "id");
}

json::object job_body(const ServerTuneOptions& options, const std::string& name, const std::string& training,
                      const std::string& validation) {
  json::object lora = settings_json(options.settings), hyperparameters;
  for (const std::string_view field : {"n_epochs", "batch_size"}) {
    hyperparameters[field] = lora.at(field);
    lora.erase(field);
  }
  json::value seed = lora.at("seed");
  lora.erase("seed");
  json::object body{
      {"model", options.model},
      {"training_file", training},
      {"suffix", name},
      {"seed", std::move(seed)},
      {"method", {{"type", "supervised"}, {"supervised", {{"hyperparameters", std::move(hyperparameters)}}}}},
      {"lora", std::move(lora)}};
  if (!validation.empty()) body["validation_file"] = validation;
  return body;
}

// Tells the events of a job, each once; of steps, on a terminal, a line that is written over.
class EventLog {
 public:
  void tell(const HttpClient& client, const std::string& job, const std::string& name) {
    const json::object page = get(client, fmt::format("{}/{}/events?limit=200", kJobs, job));
    std::vector<const json::object*> fresh;  // the newest first
    for (const json::value& value : page.at("data").as_array()) {
      const json::object& event = value.as_object();
      if (text(event, "id") == last_) break;
      fresh.push_back(&event);
    }
    if (fresh.empty()) return;
    last_ = text(*fresh.front(), "id");
    for (const json::object* event : fresh | std::views::reverse) line(*event, name);
  }
  void line(const json::object& event, const std::string& name) {
    const json::value* data = event.if_contains("data");
    const bool step = data != nullptr && data->is_object() && data->get_object().contains("train_loss");
    const std::string told = fmt::format("{}: {}", name, printable(text(event, "message"), 1000));
    if (terminal_) std::fprintf(stderr, "\r\x1b[K");
    std::fprintf(stderr, step && terminal_ ? "%s" : "%s\n", told.c_str());
    std::fflush(stderr);
  }

 private:
  const bool terminal_ = isatty(STDERR_FILENO) != 0;
  std::string last_;  // event told
};

bool has_ended(const json::object& job) {
  const std::string status = text(job, "status");
  return status == "succeeded" || status == "failed" || status == "cancelled";
}

// The job when it has ended; none: Ctrl-C.
std::optional<json::object> follow(const HttpClient& client, const std::string& id, const std::string& name) {
  EventLog log;
  int silent = 0;
  while (!interrupted()) {
    try {
      json::object job = get(client, fmt::format("{}/{}", kJobs, id));
      log.tell(client, id, name);
      if (has_ended(job)) return job;
      silent = 0;
    } catch (const Error& error) {
      if (++silent == 1) std::fprintf(stderr, "%s: %s; trying again\n", name.c_str(), error.what());
      if (silent >= kPatience) throw;
    }
    std::this_thread::sleep_for(kLook);
  }
  return std::nullopt;
}

// What a job left, the description last: a directory with one is whole.
void download(const HttpClient& client, const json::object& job, const std::string& directory) {
  std::vector<std::pair<std::string, std::string>> files;  // names and ids
  for (const json::value& id : job.at("result_files").as_array()) {
    const std::string file = std::string(id.as_string());
    const std::string name = text(get(client, "/v1/files/" + file), "filename");
    if (name.empty() || name.starts_with('.') || name.find('/') != std::string::npos)
      fail("{}: a result is called \"{}\"", client.url(), printable(name));
    files.emplace_back(name, file);
  }
  std::ranges::stable_partition(files, [](const auto& file) { return file.first != kPeftConfig; });
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) fail("{}: cannot be made: {}", printable(directory, 300), error.message());
  for (const auto& [name, id] : files) {
    const HttpAnswer answer = client.ask("GET", fmt::format("/v1/files/{}/content", id));
    if (answer.status != 200) answer_of(client, answer);
    AtomicFile file(fmt::format("{}/{}", directory, name));
    file.write(answer.body);
    file.commit();
  }
}

std::string key_of(const std::string& path) {
  if (path.empty()) return "";
  const std::string content = read_file(path, size_t{64} << 10);
  return content.substr(0, content.find_first_of("\r\n #"));
}

struct ServerJob {
  std::string id, name;
};

void cancel(const HttpClient& client, const std::vector<ServerJob>& jobs) {
  for (const ServerJob& job : jobs) {
    try {
      answer_of(client, client.ask("POST", fmt::format("{}/{}/cancel", kJobs, job.id)));
      std::fprintf(stderr, "%s: the job %s is cancelled\n", job.name.c_str(), job.id.c_str());
    } catch (const Error&) {
      // It has ended, or the server has.
    }
  }
}

std::vector<ServerJob> start_jobs(const HttpClient& client, const ServerTuneOptions& options) {
  std::vector<ServerJob> jobs;
  std::string common;  // validation, sent once
  if (options.validation.size() == 1) common = upload(client, options.validation[0]);
  for (size_t i = 0; i < options.data.size(); ++i) {
    const std::string name = options.suffix.empty() ? adapter_name_of(options.data[i]) : options.suffix;
    const std::string training = upload(client, options.data[i]);
    const std::string validation =
        options.validation.size() > 1 ? upload(client, options.validation[i]) : common;
    const json::object job =
        answer_of(client, client.ask("POST", std::string(kJobs), "application/json",
                                     json::serialize(job_body(options, name, training, validation))));
    jobs.push_back({text(job, "id"), name});
    std::fprintf(stderr, "%s: job %s on %s\n", name.c_str(), jobs.back().id.c_str(), client.url().c_str());
  }
  return jobs;
}

}  // namespace

int tune_on_server(const ServerTuneOptions& options) {
  if (options.validation.size() > 1 && options.validation.size() != options.data.size())
    fail("--val is given {} times for {} adapters: once, or once for each", options.validation.size(),
         options.data.size());
  if (!options.suffix.empty() && options.data.size() > 1)
    fail("--suffix is the name of one adapter, not of several");
  const HttpClient client(options.url, key_of(options.key_file));
  install_interrupt_handler();
  const std::vector<ServerJob> jobs = start_jobs(client, options);
  json::array ended;
  for (const ServerJob& job : jobs) {
    std::optional<json::object> end = follow(client, job.id, job.name);
    if (!end) {
      cancel(client, jobs);
      return 130;
    }
    if (text(*end, "status") != "succeeded") fail("{}: the job has {}", job.name, text(*end, "status"));
    const std::string directory =
        jobs.size() == 1 ? options.output : fmt::format("{}/{}", options.output, job.name);
    download(client, *end, directory);
    std::fprintf(stderr, "%s: done; the server has it as %s\n", directory.c_str(),
                 text(*end, "fine_tuned_model").c_str());
    ended.push_back(std::move(*end));
  }
  if (options.json) std::cout << json::serialize(ended.size() == 1 ? ended[0] : json::value(ended)) << '\n';
  return 0;
}

}  // namespace chorus
