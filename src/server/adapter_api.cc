// Models and adapters: OpenAI's /v1/models, vLLM's load and unload, llama-server's /lora-adapters, and ours.

#include <utility>

#include "server/adapter_objects.h"
#include "server/services.h"

namespace chorus {
namespace {

// A name can be asked for when a version of it is in memory or can be loaded again.
bool servable(const AdapterStatus& status) {
  return status.residency == Residency::kReady || status.residency == Residency::kOnDisk ||
         !status.id.empty();
}

json::object model_card(const std::string& id, int64_t created, const std::string& root, json::value parent,
                        json::value max_model_len) {
  return {{"id", id},
          {"object", "model"},
          {"created", created},
          {"owned_by", "chorus"},
          {"root", root},
          {"parent", std::move(parent)},
          {"max_model_len", std::move(max_model_len)},
          {"permission", json::array()}};
}

json::array model_cards(const Services& services) {
  const std::string& base = services.options.served_name;
  json::array cards{model_card(base, services.started, services.options.model, nullptr,
                               services.model.limits.context_length)};
  for (const AdapterStatus& status : services.adapters.list()) {
    if (!servable(status)) continue;
    cards.push_back(model_card(status.name, status.created, status.path.empty() ? status.name : status.path,
                               json::value(base), nullptr));
  }
  return cards;
}

void list_models(const Services& services, HttpExchange& exchange) {
  answer_json(exchange, json::object{{"object", "list"}, {"data", model_cards(services)}});
}

// GET /v1/models/NAME
void show_model(const Services& services, HttpExchange& exchange) {
  const std::string name = exchange.request().path.substr(std::string_view("/v1/models/").size());
  for (const json::value& card : model_cards(services)) {
    if (card.at("id") == json::string_view(name)) {
      answer_json(exchange, card);
      return;
    }
  }
  refuse_model(name, "model");
}

void list_adapters(const Services& services, HttpExchange& exchange) {
  json::array data;
  for (const AdapterStatus& status : services.adapters.list()) data.push_back(adapter_object(status));
  answer_json(exchange, json::object{{"object", "list"},
                                     {"data", std::move(data)},
                                     {"resident_bytes", services.adapters.resident_bytes()},
                                     {"memory_bytes", services.adapters.memory_bytes()}});
}

std::string text_or_empty(const json::object& body, std::string_view name) {
  const json::value* value = find_field(body, name);
  return value == nullptr ? std::string() : std::string(read_string(*value, name));
}

void answer_text(HttpExchange& exchange, std::string text) {
  exchange.answer(200, "text/plain; charset=utf-8", std::move(text));
}

// Fields that vLLM has and we do not need (base_model_name, is_3d_lora_weight) are passed over, as it does.
void load_adapter_vllm(const Services& services, const std::shared_ptr<HttpExchange>& exchange) {
  const json::object body = read_json_body(exchange->request());
  const std::string name = text_or_empty(body, "lora_name"), path = text_or_empty(body, "lora_path");
  if (name.empty() || path.empty()) refuse("lora_name", "Both 'lora_name' and 'lora_path' must be provided.");
  const bool in_place = bool_field(body, "load_inplace", false), pinned = bool_field(body, "pinned", false);
  services.adapters.load(name, path, in_place, pinned, [exchange, name](const AdapterOutcome& outcome) {
    if (outcome.problem == AdapterProblem::kNone) {
      answer_text(*exchange, fmt::format("Success: LoRA adapter '{}' added successfully.", name));
    } else if (outcome.problem == AdapterProblem::kExists) {
      answer_error(*exchange,
                   ApiError(400, "invalid_request_error",
                            fmt::format("The lora adapter '{}' has already been loaded. If you want to load "
                                        "the adapter in place, set 'load_inplace' to True.",
                                        name)));
    } else {
      answer_error(*exchange, outcome_error(outcome));
    }
  });
}

// 200 says that nobody can ask for it any more; "wait" waits until its memory is free too.
void unload_adapter_vllm(const Services& services, const std::shared_ptr<HttpExchange>& exchange) {
  const json::object body = read_json_body(exchange->request());
  const std::string name = text_or_empty(body, "lora_name");
  if (name.empty()) refuse("lora_name", "'lora_name' needs to be provided to unload a LoRA adapter.");
  const bool wait = bool_field(body, "wait", false);
  services.adapters.unload(name, wait, [exchange, name](const AdapterOutcome& outcome) {
    if (outcome.problem == AdapterProblem::kNone) {
      answer_text(*exchange, fmt::format("Success: LoRA adapter '{}' removed successfully.", name));
    } else if (outcome.problem == AdapterProblem::kNotFound) {
      answer_error(*exchange,
                   ApiError(404, "not_found_error",
                            fmt::format("The lora adapter '{}' cannot be found.", printable(name))));
    } else {
      answer_error(*exchange, outcome_error(outcome));
    }
  });
}

// {"path"}: what a load would say, and what it would load.
void validate_adapter(const Services& services, const std::shared_ptr<HttpExchange>& exchange) {
  const json::object body = read_json_body(exchange->request());
  const std::string path = text_or_empty(body, "path");
  if (path.empty()) refuse("path", "path is missing: it names an adapter beneath the adapters' directory");
  services.adapters.validate(path, [exchange](const AdapterOutcome& outcome, const AdapterStatus& status) {
    if (outcome.problem == AdapterProblem::kNotFound) {
      answer_error(*exchange, outcome_error(outcome));
      return;
    }
    json::object answer = adapter_object(status);
    answer["valid"] = outcome.problem == AdapterProblem::kNone;
    answer["error"] = or_null(outcome.message);
    answer_json(*exchange, answer);
  });
}

// {"name", "pinned"}
void pin_adapter(const Services& services, const std::shared_ptr<HttpExchange>& exchange) {
  const json::object body = read_json_body(exchange->request());
  const std::string name = text_or_empty(body, "name");
  if (!services.adapters.find(name)) refuse_model(name, "name");
  services.adapters.pin(name, bool_field(body, "pinned", true));
  const auto status = services.adapters.find(name);
  answer_json(*exchange, status ? adapter_object(*status) : json::object());
}

// Steps of a tuning come and go; a number is for good.
void number_adapters(const Services& services) {
  std::vector<std::string> names;
  for (const AdapterStatus& status : services.adapters.list()) {
    if (without_step(status.name) == status.name) names.push_back(status.name);
  }
  services.lora.add(names);
}

// llama-server's list. A name that is gone keeps its place, so that no id changes its meaning.
void list_lora(const Services& services, HttpExchange& exchange) {
  number_adapters(services);
  json::array list;
  for (const LoraIds::Entry& entry : services.lora.entries()) {
    const auto status = services.adapters.find(entry.name);
    list.push_back({{"id", entry.id},
                    {"path", status ? status->path : std::string()},
                    {"name", entry.name},
                    {"scale", entry.scale},
                    {"task_name", ""},
                    {"prompt_prefix", ""}});
  }
  answer_json(exchange, list);
}

// [{"id", "scale"}]: what requests to the base get from now on that choose nothing.
void set_lora(const Services& services, HttpExchange& exchange) {
  number_adapters(services);
  const json::value body = parse_json(exchange.request().body, "the body");
  if (!body.is_array()) refuse("", "Request body must be an array");
  std::vector<std::pair<int64_t, float>> scales;
  for (const json::value& element : body.get_array()) {
    const json::object& entry = read_object(element, "lora");
    const json::value *id = find_field(entry, "id"), *scale = find_field(entry, "scale");
    if (id == nullptr || scale == nullptr) refuse("lora", "an entry must have id and scale");
    scales.emplace_back(read_integer(*id, "adapter index", "id"),
                        static_cast<float>(read_number(*scale, "scale", "scale")));
  }
  if (!services.lora.set_scales(scales)) refuse("id", "id: no adapter has that id; see GET /lora-adapters");
  answer_json(exchange, json::object{{"success", true}});
}

using Action = void (*)(const Services&, const std::shared_ptr<HttpExchange>&);

HttpRoute admin_post(const Services& services, const char* path, Action action) {
  return {.method = "POST",
          .path = path,
          .access = Access::kAdmin,
          .handler = [&services, action](auto exchange) {
            run_later(services, exchange, [&services, exchange, action] { action(services, exchange); });
          }};
}

HttpRoute simple(const Services& services, const char* method, const char* path, Access access,
                 void (*action)(const Services&, HttpExchange&)) {
  return {.method = method, .path = path, .access = access, .handler = [&services, action](auto exchange) {
            run_answering(*exchange, [&] { action(services, *exchange); });
          }};
}

}  // namespace

std::vector<HttpRoute> adapter_routes(const Services& services) {
  return {simple(services, "GET", "/v1/models", Access::kUser, list_models),
          simple(services, "GET", "/v1/models/*", Access::kUser, show_model),
          simple(services, "GET", "/v1/adapters", Access::kUser, list_adapters),
          simple(services, "GET", "/lora-adapters", Access::kUser, list_lora),
          simple(services, "POST", "/lora-adapters", Access::kAdmin, set_lora),
          admin_post(services, "/v1/load_lora_adapter", load_adapter_vllm),
          admin_post(services, "/v1/unload_lora_adapter", unload_adapter_vllm),
          admin_post(services, "/v1/adapters/validate", validate_adapter),
          admin_post(services, "/v1/adapters/pin", pin_adapter)};
}

}  // namespace chorus
