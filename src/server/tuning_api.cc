// Fine-tuning beside serving, in OpenAI's shapes: /v1/files and /v1/fine_tuning/jobs.

#include <algorithm>
#include <charconv>
#include <optional>
#include <span>
#include <utility>

#include "base/mapped_file.h"
#include "server/multipart.h"
#include "server/query.h"
#include "server/services.h"
#include "server/tuning_objects.h"

namespace chorus {
namespace {

constexpr std::string_view kFiles = "/v1/files/", kJobs = "/v1/fine_tuning/jobs/";
constexpr int64_t kMaxPage = 10'000, kFilePage = 10'000, kJobPage = 20, kCheckpointPage = 10;
constexpr size_t kFormBytes = size_t{64} << 10;  // of a form beside its file
constexpr size_t kMaxDownload = size_t{2} << 30;

// What a list's query says.
struct Page {
  std::string after, purpose;
  int64_t limit = 0;
  bool oldest_first = false;
};

Page read_page(std::string_view query, int64_t limit) {
  Page page;
  page.limit = limit;
  for (const auto& [name, value] : read_query(query)) {
    if (name == "after") {
      page.after = value;
    } else if (name == "purpose") {
      page.purpose = value;
    } else if (name == "order") {
      if (value != "asc" && value != "desc") refuse("order", "order must be asc or desc");
      page.oldest_first = value == "asc";
    } else if (name == "limit") {
      const char* last = value.data() + value.size();
      const auto read = std::from_chars(value.data(), last, page.limit);
      if (read.ec != std::errc() || read.ptr != last || page.limit < 1 || page.limit > kMaxPage)
        refuse("limit", "limit must be an integer from 1 to {}", kMaxPage);
    } else {
      refuse_parameter(name);
    }
  }
  return page;
}

// The page of a list, the newest of whose objects comes first.
json::object page_of(std::vector<json::object> objects, const Page& page) {
  if (page.oldest_first) std::ranges::reverse(objects);
  auto begin = objects.begin();
  if (!page.after.empty()) {
    begin = std::ranges::find_if(
        objects, [&](const json::object& object) { return object.at("id").as_string() == page.after; });
    if (begin == objects.end()) refuse("after", "after: there is no {}", printable(page.after));
    ++begin;
  }
  const bool more = objects.end() - begin > page.limit;
  const auto end = more ? begin + page.limit : objects.end();
  json::array data(std::make_move_iterator(begin), std::make_move_iterator(end));
  const auto id = [](const json::value& object) { return object.at("id"); };
  json::value first = data.empty() ? json::value(nullptr) : id(data.front());
  json::value last = data.empty() ? json::value(nullptr) : id(data.back());
  return {{"object", "list"},
          {"data", std::move(data)},
          {"first_id", std::move(first)},
          {"last_id", std::move(last)},
          {"has_more", more}};
}

[[noreturn]] void refuse_unknown(std::string_view kind, std::string_view id) {
  throw ApiError(404, "not_found_error", fmt::format("there is no {} {}", kind, printable(id)), "id");
}

StoredFile file_named(TuningJobs& jobs, const std::string& id) {
  const std::optional<StoredFile> file = jobs.files().find(id);
  if (!file) refuse_unknown("file", id);
  return *file;
}

TuningJob job_named(TuningJobs& jobs, const std::string& id) {
  std::optional<TuningJob> job = jobs.find(id);
  if (!job) refuse_unknown("fine-tuning job", id);
  return std::move(*job);
}

void add_file(const Services& services, HttpExchange& exchange, const std::string&) {
  const HttpRequest& request = exchange.request();
  const FormPart* file = nullptr;
  std::string_view purpose;
  const std::vector<FormPart> parts = read_form(request.header("content-type"), request.body);
  for (const FormPart& part : parts) {
    if (part.name == "file") {
      file = &part;
    } else if (part.name == "purpose") {
      purpose = part.content;
    } else {
      refuse(printable(part.name), "unknown field: {}", printable(part.name));
    }
  }
  if (purpose != "fine-tune") refuse("purpose", "purpose must be fine-tune");
  if (file == nullptr || file->content.empty()) refuse("file", "file is missing, or is empty");
  if (file->content.size() > services.tuning->limits().file_bytes)
    throw ApiError(413, "invalid_request_error",
                   fmt::format("file has {} bytes; at most {}", file->content.size(),
                               services.tuning->limits().file_bytes),
                   "file");
  try {
    const std::string name = file->filename.empty() ? "data.jsonl" : file->filename;
    answer_json(exchange, file_object(services.tuning->files().add(name, "fine-tune", file->content)));
  } catch (const StoreFull& error) {
    refuse("file", "{}", error.what());
  } catch (const Error& error) {
    refuse_storage(exchange, error);
  }
}

void list_files(const Services& services, HttpExchange& exchange, const std::string&) {
  const Page page = read_page(exchange.request().query, kFilePage);
  std::vector<json::object> objects;
  for (const StoredFile& file : services.tuning->files().list()) {
    if (page.purpose.empty() || file.purpose == page.purpose) objects.push_back(file_object(file));
  }
  answer_json(exchange, page_of(std::move(objects), page));
}

// GET /v1/files/ID and /v1/files/ID/content
void show_file(const Services& services, HttpExchange& exchange, const std::string& rest) {
  const size_t slash = rest.find('/');
  const StoredFile file = file_named(*services.tuning, rest.substr(0, slash));
  if (slash == std::string::npos) {
    answer_json(exchange, file_object(file));
  } else if (rest.substr(slash) == "/content") {
    exchange.answer(200, "application/octet-stream",
                    read_file(services.tuning->files().path(file), kMaxDownload));
  } else {
    refuse_unknown("path", rest);
  }
}

void remove_file(const Services& services, HttpExchange& exchange, const std::string& id) {
  if (!services.tuning->remove_file(id)) refuse_unknown("file", id);
  answer_json(exchange, json::object{{"id", id}, {"object", "file"}, {"deleted", true}});
}

// What this server, as it is, would not take.
void check_request(const Services& services, const JobRequest& request) {
  const std::vector<std::string>& bases = services.model.names.base_names;
  if (std::ranges::find(bases, request.model) == bases.end()) {
    if (services.adapters.known(request.model))
      refuse("model", "model must be the base: a job does not go on from an adapter");
    refuse_model(request.model, "model");
  }
  const auto check_file = [&](const std::string& id, std::string_view param) {
    const std::optional<StoredFile> file = services.tuning->files().find(id);
    if (!file) refuse(param, "{}: there is no file {}", param, printable(id));
    if (file->purpose != "fine-tune") refuse(param, "{}: the file's purpose is not fine-tune", param);
  };
  check_file(request.training_file, "training_file");
  if (!request.validation_file.empty()) check_file(request.validation_file, "validation_file");
  try {
    task_of(request.settings, services.tuning->layers());
  } catch (const Error& error) {
    refuse("lora", "lora: {}", error.what());
  }
}

void create_job(const Services& services, HttpExchange& exchange, const std::string&) {
  JobRequest request = read_job_request(read_json_body(exchange.request()));
  check_request(services, request);
  try {
    answer_json(exchange, job_object(services.tuning->create(std::move(request))));
  } catch (const TooManyJobs& error) {
    throw ApiError(429, "rate_limit_error", error.what());
  } catch (const BadAdapterName& error) {
    refuse("suffix", "{}", error.what());
  } catch (const Error& error) {
    refuse_storage(exchange, error);
  }
}

void list_jobs(const Services& services, HttpExchange& exchange, const std::string&) {
  const Page page = read_page(exchange.request().query, kJobPage);
  std::vector<json::object> objects;
  for (const JobState& job : services.tuning->list()) objects.push_back(job_object(job));
  answer_json(exchange, page_of(std::move(objects), page));
}

void list_events(HttpExchange& exchange, const TuningJob& job) {
  const Page page = read_page(exchange.request().query, kJobPage);
  std::vector<json::object> objects;
  for (const JobEvent& event : job.events) objects.push_back(event_object(event));
  std::ranges::reverse(objects);
  answer_json(exchange, page_of(std::move(objects), page));
}

void list_checkpoints(HttpExchange& exchange, const TuningJob& job) {
  const Page page = read_page(exchange.request().query, kCheckpointPage);
  std::vector<json::object> objects;
  for (const JobCheckpoint& checkpoint : job.checkpoints)
    objects.push_back(checkpoint_object(job, checkpoint));
  std::ranges::reverse(objects);
  answer_json(exchange, page_of(std::move(objects), page));
}

// GET /v1/fine_tuning/jobs/ID, .../events and .../checkpoints
void show_job(const Services& services, HttpExchange& exchange, const std::string& rest) {
  const size_t slash = std::min(rest.find('/'), rest.size());
  const TuningJob job = job_named(*services.tuning, rest.substr(0, slash));
  const std::string what = rest.substr(slash);
  if (what.empty()) {
    answer_json(exchange, job_object(job));
  } else if (what == "/events") {
    list_events(exchange, job);
  } else if (what == "/checkpoints") {
    list_checkpoints(exchange, job);
  } else {
    refuse_unknown("path", rest);
  }
}

// POST /v1/fine_tuning/jobs/ID/cancel
void cancel_job(const Services& services, HttpExchange& exchange, const std::string& rest) {
  const size_t slash = std::min(rest.find('/'), rest.size());
  if (rest.substr(slash) != "/cancel") refuse_unknown("path", rest);
  const std::string id = job_named(*services.tuning, rest.substr(0, slash)).id;
  answer_json(exchange, job_object(services.tuning->cancel(id)));
}

void remove_job(const Services& services, HttpExchange& exchange, const std::string& id) {
  services.tuning->remove(job_named(*services.tuning, id).id);
  answer_json(exchange, json::object{{"id", id}, {"object", "fine_tuning.job"}, {"deleted", true}});
}

// `rest` is what of the path stands behind the route's own.
using Action = void (*)(const Services&, HttpExchange&, const std::string& rest);

HttpRoute route(const Services& services, const char* method, std::string_view path, Action action) {
  const bool below = path.ends_with('/');
  return {.method = method,
          .path = std::string(path) + (below ? "*" : ""),
          .access = Access::kAdmin,
          .handler = [&services, action, prefix = path.size(), below](auto exchange) {
            run_later(services, exchange, [&services, exchange, action, prefix, below] {
              if (services.tuning == nullptr) {
                throw ApiError(501, "not_implemented_error",
                               "this server does not tune: start it with --tune-dir DIR");
              }
              action(services, *exchange, below ? exchange->request().path.substr(prefix) : "");
            });
          }};
}

}  // namespace

std::vector<HttpRoute> tuning_routes(const Services& services) {
  const std::string_view files = kFiles.substr(0, kFiles.size() - 1),
                         jobs = kJobs.substr(0, kJobs.size() - 1);
  HttpRoute upload = route(services, "POST", files, add_file);
  upload.content_type = "multipart/form-data";
  if (services.tuning != nullptr) upload.body_bytes = services.tuning->limits().file_bytes + kFormBytes;
  HttpRoute cancel = route(services, "POST", kJobs, cancel_job);
  cancel.body_optional = true;
  return {std::move(upload),
          std::move(cancel),
          route(services, "GET", files, list_files),
          route(services, "GET", kFiles, show_file),
          route(services, "DELETE", kFiles, remove_file),
          route(services, "POST", jobs, create_job),
          route(services, "GET", jobs, list_jobs),
          route(services, "GET", kJobs, show_job),
          route(services, "DELETE", kJobs, remove_job)};
}

}  // namespace chorus
