#include "server/tuning_objects.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "server/openai_fields.h"

namespace chorus {
namespace {

// What a learning_rate_multiplier of 1 is.
const double kLearningRate = TuneSettings().learning_rate;

constexpr size_t kMaxSuffix = 64, kMaxMetadata = 16, kMaxKey = 64, kMaxValue = 512;
// They stand elsewhere in a request than beneath "lora".
constexpr std::array<std::string_view, 3> kNotOfLora = {"n_epochs", "batch_size", "seed"};

json::value or_null(int64_t number) { return number == 0 ? json::value(nullptr) : json::value(number); }

// Whole numbers as such: clients take epochs for integers.
json::value plain_number(double number) {
  return std::trunc(number) == number ? json::value(static_cast<int64_t>(number)) : json::value(number);
}

json::object hyperparameters(const TuneSettings& settings) {
  return {{"n_epochs", plain_number(settings.epochs)},
          {"batch_size", settings.batch},
          {"learning_rate_multiplier", plain_number(settings.learning_rate / kLearningRate)}};
}

json::object lora_object(const TuneSettings& settings) {
  json::object fields = settings_json(settings);
  for (const std::string_view name : kNotOfLora) fields.erase(name);
  return fields;
}

bool is_auto(const json::value& value) { return value.is_string() && value.get_string() == "auto"; }

double read_multiplier(const json::value& value, const std::string& name) {
  constexpr double kMin = 1e-4, kMax = 1e4;
  const double multiplier = value.is_number() ? value.to_number<double>() : 0;
  if (!(multiplier >= kMin && multiplier <= kMax))
    refuse(name, "{} must be \"auto\" or a number from {} to {}", name, kMin, kMax);
  return multiplier;
}

void read_hyperparameters(const json::value& value, const std::string& where, TuneSettings& settings) {
  json::object rest;
  for (const auto& [key, field] : read_object(value, where)) {
    const std::string name = where + "." + printable(key);
    if (key != "n_epochs" && key != "batch_size" && key != "learning_rate_multiplier")
      refuse(name, "unknown field: {}", name);
    if (field.is_null() || is_auto(field)) continue;
    if (key != "learning_rate_multiplier") {
      rest[key] = field;
      continue;
    }
    settings.learning_rate = kLearningRate * read_multiplier(field, name);
  }
  read_settings(rest, settings, where + ".");
}

// {"type": "supervised", "supervised": {"hyperparameters"}}
const json::value* method_hyperparameters(const json::value& value) {
  const json::object& method = read_object(value, "method");
  const json::value* type = find_field(method, "type");
  if (type == nullptr || read_string(*type, "method.type") != "supervised")
    refuse("method.type", "method.type must be \"supervised\"");
  for (const auto& [key, field] : method) {
    if (key != "type" && key != "supervised" && !field.is_null())
      refuse("method." + printable(key), "method.{} is not supported", printable(key));
  }
  const json::value* supervised = find_field(method, "supervised");
  if (supervised == nullptr) return nullptr;
  for (const auto& [key, field] : read_object(*supervised, "method.supervised")) {
    const std::string name = "method.supervised." + printable(key);
    if (key != "hyperparameters") refuse(name, "unknown field: {}", name);
  }
  return find_field(supervised->get_object(), "hyperparameters");
}

void read_lora(const json::value& value, bool has_multiplier, TuneSettings& settings) {
  const json::object& lora = read_object(value, "lora");
  for (const std::string_view name : kNotOfLora) {
    if (find_field(lora, name) != nullptr)
      refuse("lora." + std::string(name), "lora.{} stands {}", name,
             name == "seed" ? "beside lora" : "in hyperparameters");
  }
  if (has_multiplier && find_field(lora, "learning_rate") != nullptr)
    refuse("lora.learning_rate", "lora.learning_rate and learning_rate_multiplier say the same; give one");
  read_settings(lora, settings, "lora.");
}

json::object read_metadata(const json::value& value) {
  const json::object& metadata = read_object(value, "metadata");
  if (metadata.size() > kMaxMetadata) refuse("metadata", "metadata has more than {} pairs", kMaxMetadata);
  for (const auto& [key, field] : metadata) {
    if (key.size() > kMaxKey || read_string(field, "metadata").size() > kMaxValue)
      refuse("metadata", "metadata: keys have at most {} bytes, values {}", kMaxKey, kMaxValue);
  }
  return metadata;
}

std::string text_field(const json::object& body, std::string_view name) {
  const json::value* value = find_field(body, name);
  if (value == nullptr) return "";
  const std::string_view text = read_string(*value, name);
  if (text.size() > kMaxNameBytes)
    refuse(name, "{} has {} bytes; at most {}", name, text.size(), kMaxNameBytes);
  return std::string(text);
}

void check_names(const json::object& body) {
  constexpr std::array<std::string_view, 9> kKnown = {"model",  "training_file", "validation_file",
                                                      "suffix", "seed",          "hyperparameters",
                                                      "method", "lora",          "metadata"};
  for (const auto& [key, value] : body) {
    const std::string name = printable(key);
    if (value.is_null() || std::ranges::find(kKnown, std::string_view(key)) != kKnown.end()) continue;
    if (key == "integrations" && value.is_array() && value.get_array().empty()) continue;
    if (key == "integrations") refuse(name, "integrations are not supported");
    refuse(name, "unknown field: {}", name);
  }
}

void read_settings_of(const json::object& body, TuneSettings& settings) {
  const json::value* plain = find_field(body, "hyperparameters");
  const json::value* method = find_field(body, "method");
  const json::value* of_method = method == nullptr ? nullptr : method_hyperparameters(*method);
  if (plain != nullptr && of_method != nullptr)
    refuse("hyperparameters", "hyperparameters and method.supervised.hyperparameters say the same; give one");
  const json::value* given = plain != nullptr ? plain : of_method;
  const std::string where = plain != nullptr ? "hyperparameters" : "method.supervised.hyperparameters";
  if (given != nullptr) read_hyperparameters(*given, where, settings);
  const json::value* multiplier =
      given == nullptr ? nullptr : find_field(given->get_object(), "learning_rate_multiplier");
  if (const json::value* seed = find_field(body, "seed")) read_settings({{"seed", *seed}}, settings);
  if (const json::value* lora = find_field(body, "lora"))
    read_lora(*lora, multiplier != nullptr && !is_auto(*multiplier), settings);
}

}  // namespace

json::object file_object(const StoredFile& file) {
  return {{"id", file.id},
          {"object", "file"},
          {"bytes", file.bytes},
          {"created_at", file.created},
          {"expires_at", nullptr},
          {"filename", file.filename},
          {"purpose", file.purpose},
          {"status", "processed"},
          {"status_details", nullptr}};
}

json::object job_object(const JobState& job) {
  const JobRequest& request = job.request;
  const json::object settings = hyperparameters(request.settings);
  const bool succeeded = job.status == JobStatus::kSucceeded, running = job.status == JobStatus::kRunning;
  json::value error = nullptr;
  if (job.status == JobStatus::kFailed)
    error = json::object{{"code", "job_failed"}, {"message", job.error}, {"param", nullptr}};
  return {{"id", job.id},
          {"object", "fine_tuning.job"},
          {"model", request.model},
          {"created_at", job.created},
          {"finished_at", or_null(job.finished)},
          {"fine_tuned_model", succeeded ? json::value(request.name) : json::value(nullptr)},
          {"organization_id", "chorus"},
          {"result_files", json::value_from(job.result_files)},
          {"status", name_of(job.status)},
          {"validation_file", or_null(request.validation_file)},
          {"training_file", request.training_file},
          {"hyperparameters", settings},
          {"trained_tokens", job.ended() ? or_null(job.trained_tokens) : json::value(nullptr)},
          {"error", std::move(error)},
          {"user_provided_suffix", or_null(request.suffix)},
          {"seed", request.settings.seed},
          {"estimated_finish", running ? or_null(job.estimated_finish) : json::value(nullptr)},
          {"integrations", json::array()},
          {"metadata", request.metadata},
          {"method", {{"type", "supervised"}, {"supervised", {{"hyperparameters", settings}}}}},
          {"lora", lora_object(request.settings)}};
}

json::object event_object(const JobEvent& event) {
  return {{"id", event.id},
          {"object", "fine_tuning.job.event"},
          {"created_at", event.created},
          {"level", event.level},
          {"message", event.message},
          {"type", event.data.empty() ? "message" : "metrics"},
          {"data", event.data}};
}

json::object checkpoint_object(const TuningJob& job, const JobCheckpoint& checkpoint) {
  return {{"id", checkpoint.id},
          {"object", "fine_tuning.job.checkpoint"},
          {"created_at", checkpoint.created},
          {"fine_tuned_model_checkpoint", checkpoint.adapter},
          {"fine_tuning_job_id", job.id},
          {"metrics",
           {{"step", checkpoint.step},
            {"train_loss", checkpoint.train_loss},
            {"valid_loss", checkpoint.validation_loss},
            {"full_valid_loss", checkpoint.validation_loss}}},
          {"step_number", checkpoint.step}};
}

JobRequest read_job_request(const json::object& body) {
  check_names(body);
  JobRequest request;
  request.model = text_field(body, "model");
  request.training_file = text_field(body, "training_file");
  request.validation_file = text_field(body, "validation_file");
  request.suffix = text_field(body, "suffix");
  if (request.model.empty()) refuse("model", "model is missing: it names the base");
  if (request.training_file.empty())
    refuse("training_file", "training_file is missing: it is the id of a file, see POST /v1/files");
  if (request.suffix.size() > kMaxSuffix)
    refuse("suffix", "suffix has {} bytes; at most {}", request.suffix.size(), kMaxSuffix);
  request.name = request.suffix;
  if (const json::value* metadata = find_field(body, "metadata")) request.metadata = read_metadata(*metadata);
  try {
    read_settings_of(body, request.settings);
  } catch (const SettingError& error) {
    refuse(error.field, "{}", error.what());
  }
  return request;
}

}  // namespace chorus
