#include "tuning/tuning_job.h"

#include <algorithm>
#include <array>
#include <ctime>

#include "base/atomic_file.h"
#include "tuning/file_store.h"

namespace chorus {
namespace {

constexpr size_t kMaxJobFile = size_t{16} << 20;
constexpr std::array<std::string_view, 6> kStatusNames = {"queued",    "validating_files", "running",
                                                          "succeeded", "failed",           "cancelled"};

json::object event_json(const JobEvent& event) {
  return {{"id", event.id},
          {"created", event.created},
          {"level", event.level},
          {"message", event.message},
          {"data", event.data}};
}

json::object checkpoint_json(const JobCheckpoint& checkpoint) {
  return {{"id", checkpoint.id},
          {"adapter", checkpoint.adapter},
          {"created", checkpoint.created},
          {"step", checkpoint.step},
          {"train_loss", checkpoint.train_loss},
          {"validation_loss", checkpoint.validation_loss}};
}

std::string text(const json::object& object, const char* name) {
  return std::string(object.at(name).as_string());
}
int64_t number(const json::object& object, const char* name) { return object.at(name).to_number<int64_t>(); }

JobEvent event_of(const json::object& event) {
  return {text(event, "id"), number(event, "created"), text(event, "level"), text(event, "message"),
          event.at("data").as_object()};
}

JobCheckpoint checkpoint_of(const json::object& checkpoint) {
  return {.id = text(checkpoint, "id"),
          .adapter = text(checkpoint, "adapter"),
          .created = number(checkpoint, "created"),
          .step = number(checkpoint, "step"),
          .train_loss = checkpoint.at("train_loss").to_number<double>(),
          .validation_loss = checkpoint.at("validation_loss").to_number<double>()};
}

json::object request_json(const JobRequest& request) {
  return {{"model", request.model},
          {"name", request.name},
          {"suffix", request.suffix},
          {"training_file", request.training_file},
          {"validation_file", request.validation_file},
          {"settings", settings_json(request.settings)},
          {"metadata", request.metadata}};
}

JobRequest request_of(const json::object& request) {
  JobRequest out{.model = text(request, "model"),
                 .name = text(request, "name"),
                 .suffix = text(request, "suffix"),
                 .training_file = text(request, "training_file"),
                 .validation_file = text(request, "validation_file"),
                 .settings = {},
                 .metadata = request.at("metadata").as_object()};
  read_settings(request.at("settings").as_object(), out.settings);
  return out;
}

}  // namespace

std::string_view name_of(JobStatus status) { return kStatusNames[static_cast<size_t>(status)]; }

void add_event(TuningJob& job, std::string_view level, std::string message, json::object data,
               const TuningLimits& limits) {
  std::vector<JobEvent>& events = job.events;
  if (events.size() >= limits.events) {
    const auto step =
        std::ranges::find_if(events, [](const JobEvent& event) { return event.data.contains("train_loss"); });
    events.erase(step == events.end() ? events.begin() : step);
  }
  events.push_back(
      {new_id("ftevent-"), std::time(nullptr), std::string(level), std::move(message), std::move(data)});
}

void add_checkpoint(TuningJob& job, JobCheckpoint checkpoint, const TuningLimits& limits) {
  std::erase_if(job.checkpoints, [&](const JobCheckpoint& other) { return other.step == checkpoint.step; });
  if (job.checkpoints.size() >= limits.events) job.checkpoints.erase(job.checkpoints.begin());
  job.checkpoints.push_back(std::move(checkpoint));
}

void write_job(const TuningJob& job, const std::string& path) {
  json::array events, checkpoints;
  for (const JobEvent& event : job.events) events.push_back(event_json(event));
  for (const JobCheckpoint& checkpoint : job.checkpoints) checkpoints.push_back(checkpoint_json(checkpoint));
  AtomicFile file(path);
  file.write(json::serialize(json::object{{"id", job.id},
                                          {"request", request_json(job.request)},
                                          {"status", name_of(job.status)},
                                          {"created", job.created},
                                          {"finished", job.finished},
                                          {"step", job.step},
                                          {"steps", job.steps},
                                          {"trained_tokens", job.trained_tokens},
                                          {"error", job.error},
                                          {"result_files", json::value_from(job.result_files)},
                                          {"events", std::move(events)},
                                          {"checkpoints", std::move(checkpoints)}}));
  file.commit();
}

TuningJob read_job(const std::string& path) {
  try {
    const json::value value = read_json_file(path, kMaxJobFile);
    const json::object& object = value.as_object();
    TuningJob job;
    job.id = text(object, "id");
    job.request = request_of(object.at("request").as_object());
    const auto* status = std::ranges::find(kStatusNames, object.at("status").as_string());
    if (status == kStatusNames.end()) fail("{}: its status is none", printable(path, 300));
    job.status = static_cast<JobStatus>(status - kStatusNames.begin());
    job.created = number(object, "created");
    job.finished = number(object, "finished");
    job.step = number(object, "step");
    job.steps = number(object, "steps");
    job.trained_tokens = number(object, "trained_tokens");
    job.error = text(object, "error");
    job.result_files = json::value_to<std::vector<std::string>>(object.at("result_files"));
    for (const json::value& event : object.at("events").as_array())
      job.events.push_back(event_of(event.as_object()));
    for (const json::value& checkpoint : object.at("checkpoints").as_array())
      job.checkpoints.push_back(checkpoint_of(checkpoint.as_object()));
    return job;
  } catch (const boost::system::system_error&) {
    fail("{}: is no description of a job", printable(path, 300));
  } catch (const std::out_of_range&) {
    fail("{}: is no description of a job", printable(path, 300));
  } catch (const std::invalid_argument&) {
    fail("{}: is no description of a job", printable(path, 300));
  }
}

}  // namespace chorus
