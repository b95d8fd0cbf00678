#include "server/chorus_request.h"

#include <algorithm>
#include <array>
#include <set>

namespace chorus {
namespace {

// What one stream of many voices has no place for.
constexpr std::array<std::string_view, 7> kNotOfVoices = {"stream_options", "n",      "echo", "tools",
                                                          "tool_choice",    "suffix", "voice"};
constexpr std::array<std::string_view, 5> kSelectAdapters = {"model", "adapters", "lora", "adapter_id",
                                                             "adapter_parameters"};

void refuse_fields(const json::object& fields, const std::string& where) {
  for (const std::string_view name : kNotOfVoices) {
    if (fields.contains(name))
      refuse(where + std::string(name), "{}{} has no place in a chorus", where, name);
  }
}

// The first message, or one put before the others.
void set_system(json::value& messages, const json::string& text) {
  if (!messages.is_array()) return;  // which is refused later
  json::array& array = messages.get_array();
  const bool has_system = !array.empty() && array[0].is_object() && array[0].get_object().contains("role") &&
                          array[0].get_object().at("role") == "system";
  const json::object message{{"role", "system"}, {"content", text}};
  if (has_system) {
    array[0] = message;
  } else {
    array.insert(array.begin(), message);
  }
}

std::string read_name(const json::object& fields, const std::string& where, std::set<std::string>& names) {
  const std::string param = where + "name";
  const json::value* value = find_field(fields, "name");
  if (value == nullptr) refuse(param, "{} is missing", param);
  const std::string_view name = read_string(*value, param);
  if (name.empty() || name.size() > kMaxVoiceNameBytes)
    refuse(param, "{} has {} bytes; it must have 1 to {}", param, name.size(), kMaxVoiceNameBytes);
  if (!names.emplace(name).second)
    refuse(param, "{}: {} is the name of a voice before it", param, printable(name));
  return std::string(name);
}

void check_fields(const json::object& fields, const std::string& where) {
  refuse_fields(fields, where);
  for (const std::string_view name : {"stream", "voices"}) {
    if (fields.contains(name)) refuse(where + std::string(name), "{}{}: a voice has none", where, name);
  }
}

bool is_given(const ChorusRequest& request, std::string_view name) {
  const auto has = [&](const VoiceRequest& voice) { return find_field(voice.fields, name) != nullptr; };
  return find_field(request.shared, name) != nullptr || std::ranges::any_of(request.voices, has);
}

}  // namespace

ChorusRequest read_chorus_request(json::object body) {
  ChorusRequest request;
  request.stream = bool_field(body, "stream", false);
  refuse_fields(body, "");
  const json::value* voices = find_field(body, "voices");
  if (voices == nullptr) refuse("voices", "voices is missing: a list of {{\"name\", \"model\"}}");
  std::set<std::string> names;
  const json::array& list = read_array(*voices, "voices", 1, kMaxVoices);
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string where = fmt::format("voices[{}].", i);
    const json::object& fields = read_object(list[i], fmt::format("voices[{}]", i));
    check_fields(fields, where);
    std::string name = read_name(fields, where, names);
    request.voices.push_back({std::move(name), fields});
  }
  for (const std::string_view name : {"voices", "stream"}) body.erase(name);
  request.shared = std::move(body);
  const bool chat = is_given(request, "messages");
  if (chat == is_given(request, "prompt"))
    refuse(chat ? "prompt" : "messages", "either messages or prompt must be given");
  request.endpoint = chat ? Endpoint::kChat : Endpoint::kCompletions;
  return request;
}

json::object voice_body(const ChorusRequest& request, size_t index, WithPrompt with) {
  const json::object& fields = request.voices[index].fields;
  const bool selects = std::ranges::any_of(
      kSelectAdapters, [&](std::string_view name) { return find_field(fields, name) != nullptr; });
  const auto wanted = [&](std::string_view name) {
    return with == WithPrompt::kYes || (name != "messages" && name != "prompt");
  };
  json::object body;
  for (const auto& [name, value] : request.shared) {
    const bool replaced =
        selects && std::ranges::find(kSelectAdapters, std::string_view(name)) != kSelectAdapters.end();
    if (!replaced && wanted(name) && !fields.contains(name)) body.emplace(name, value);
  }
  for (const auto& [name, value] : fields) {
    if (name != "name" && name != "system" && wanted(name)) body.emplace(name, value);
  }
  if (const json::value* system = find_field(fields, "system")) {
    const std::string param = fmt::format("voices[{}].system", index);
    read_string(*system, param);
    if (request.endpoint != Endpoint::kChat) refuse(param, "{} needs messages, not a prompt", param);
    if (json::value* messages = body.if_contains("messages")) set_system(*messages, system->get_string());
  }
  return body;
}

ApiError voice_error(const ApiError& error, const std::string& name, size_t index) {
  const std::string param = error.param.empty() || error.param.starts_with("voices[")
                                ? error.param
                                : fmt::format("voices[{}].{}", index, error.param);
  return {error.status, error.type, fmt::format("voice {}: {}", printable(name), error.what()), param,
          error.code};
}

}  // namespace chorus
