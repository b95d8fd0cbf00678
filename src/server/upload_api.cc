// POST /v1/adapters/upload: an adapter's files become an adapter in the watched directory.

#include <memory>
#include <utility>

#include "server/adapter_inbox.h"
#include "server/adapter_objects.h"
#include "server/query.h"
#include "server/services.h"

namespace chorus {
namespace {

// Larger adapters are put into the directory by other means: a body is held in memory.
constexpr size_t kMaxUpload = size_t{240} << 20;

struct UploadQuery {
  std::string name;
  bool check = false, replace = false;
};

UploadQuery read_upload_query(std::string_view text) {
  UploadQuery query;
  for (const auto& [name, value] : read_query(text)) {
    if (name == "name") {
      query.name = value;
    } else if (name == "check" || name == "replace") {
      if (value != "true" && value != "false") refuse(name, "{} must be true or false", name);
      (name == "check" ? query.check : query.replace) = value == "true";
    } else {
      refuse_parameter(name);
    }
  }
  if (query.name.empty()) refuse("name", "name is missing from the query: it is what the adapter is called");
  return query;
}

struct Upload {
  std::shared_ptr<HttpExchange> exchange;
  UploadQuery query;
  std::vector<std::string> ignored;
  std::unique_ptr<AdapterInbox> inbox;
  std::string kept;  // the adapter's path in the directory
};

ApiError name_taken(const std::string& name) {
  return {
      409, "conflict_error",
      fmt::format("there is an adapter {}; \"replace=true\" in the query puts this one in its place", name),
      "name"};
}

// The files lay in a folder that nobody asked for: they are called by the adapter's name.
std::string named(std::string text, const std::string& path, const std::string& name) {
  for (size_t at; (at = text.find(path)) != std::string::npos;) text.replace(at, path.size(), name);
  return text;
}

void answer_adapter(const Upload& upload, AdapterStatus status, const AdapterOutcome& outcome) {
  status.name = upload.query.name;
  status.path = upload.kept;
  status.error = outcome.message;
  json::object answer = adapter_object(status);
  answer["valid"] = outcome.problem == AdapterProblem::kNone;
  answer["ignored"] = json::value_from(upload.ignored);
  answer_json(*upload.exchange, answer);
}

void put_in_place(AdapterInbox& inbox, const Upload& upload) {
  try {
    if (inbox.keep(upload.query.replace)) return;
  } catch (const Error& error) {
    refuse_storage(*upload.exchange, error);
  }
  throw name_taken(upload.query.name);
}

// What was sent has been tried. If it fits and is not only to be checked, it gets its place and is loaded
// from there.
void validated(const Services& services, const std::shared_ptr<Upload>& upload, AdapterOutcome outcome,
               const AdapterStatus& status) {
  std::unique_ptr<AdapterInbox> inbox = std::move(upload->inbox);  // gone before the client hears of it
  const std::string& name = upload->query.name;
  upload->kept = inbox->kept();
  outcome.message = named(std::move(outcome.message), inbox->path(), name);
  const bool fits = outcome.problem == AdapterProblem::kNone;
  if (fits && !upload->query.check) put_in_place(*inbox, *upload);
  inbox.reset();
  if (upload->query.check) return answer_adapter(*upload, status, outcome);
  if (!fits) throw outcome_error(outcome);
  services.adapters.load(name, upload->kept, true, false, [&services, upload](const AdapterOutcome& loaded) {
    run_answering(*upload->exchange, [&] {
      if (loaded.problem != AdapterProblem::kNone) throw outcome_error(loaded);
      answer_adapter(*upload, services.adapters.find(upload->query.name).value_or(AdapterStatus{}), loaded);
    });
  });
}

void receive(const Services& services, const std::shared_ptr<HttpExchange>& exchange) {
  const std::string& directory = services.adapters.directory();
  if (directory.empty())
    throw ApiError(501, "not_implemented_error",
                   "this server keeps no adapters: start it with --adapters DIR");
  const auto upload = std::make_shared<Upload>(exchange, read_upload_query(exchange->request().query));
  const std::string& name = upload->query.name;
  try {
    services.adapters.require_name(name);
  } catch (const Error& error) {
    refuse("name", "{}", error.what());
  }
  if (!upload->query.check && !upload->query.replace &&
      (services.adapters.known(name) || AdapterInbox::exists(directory, name)))
    throw name_taken(name);
  AdapterFiles files =
      read_adapter_files(read_form(exchange->request().header("content-type"), exchange->request().body));
  upload->ignored = std::move(files.ignored);
  try {
    upload->inbox = std::make_unique<AdapterInbox>(directory, name, files);
  } catch (const Error& error) {
    refuse_storage(*exchange, error);
  }
  services.adapters.validate(
      upload->inbox->path(), [&services, upload](const AdapterOutcome& outcome, const AdapterStatus& status) {
        run_answering(*upload->exchange, [&] { validated(services, upload, outcome, status); });
      });
}

}  // namespace

std::vector<HttpRoute> upload_routes(const Services& services) {
  if (!services.adapters.directory().empty()) AdapterInbox::remove_old(services.adapters.directory());
  return {{.method = "POST",
           .path = "/v1/adapters/upload",
           .access = Access::kAdmin,
           .handler =
               [&services](auto exchange) {
                 run_later(services, exchange, [&services, exchange] { receive(services, exchange); });
               },
           .content_type = "multipart/form-data",
           .body_bytes = kMaxUpload}};
}

}  // namespace chorus
