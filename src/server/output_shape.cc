#include "server/output_shape.h"

#include <memory>
#include <utility>
#include <vector>

namespace chorus {
namespace {

void check_size(size_t bytes, std::string_view param) {
  if (bytes > kMaxGrammarBytes) refuse(param, "{} has {} bytes; at most {}", param, bytes, kMaxGrammarBytes);
}

OutputShape json_object_shape(std::string_view param) {
  return {"json_object", [] { return json_object_grammar(); }, std::string(param)};
}

// A schema, as JSON or as its text.
OutputShape schema_shape(const json::value& value, std::string_view param) {
  json::value schema = value;
  if (value.is_string()) {
    check_size(value.get_string().size(), param);
    try {
      schema = parse_json(value.get_string(), param);
    } catch (const Error& error) {
      refuse(param, "{}", error.what());
    }
  }
  if (!schema.is_object() && !schema.is_bool()) refuse(param, "{} must be a JSON schema", param);
  std::string key = "schema:" + json::serialize(schema);
  check_size(key.size(), param);
  const auto shared = std::make_shared<const json::value>(std::move(schema));
  return {std::move(key), [shared] { return schema_grammar(*shared); }, std::string(param)};
}

OutputShape text_shape(std::string_view kind, Grammar (*make)(std::string_view), const json::value& value,
                       std::string_view param) {
  std::string text(read_string(value, param));
  check_size(text.size(), param);
  if (text.empty()) refuse(param, "{} is empty", param);
  std::string key = fmt::format("{}:{}", kind, text);
  return {std::move(key), [text = std::move(text), make] { return make(text); }, std::string(param)};
}

OutputShape choice_shape(const json::value& value, std::string_view param) {
  constexpr size_t kMaxChoices = 10'000;
  const json::array& array = read_array(value, param, 1, kMaxChoices);
  std::vector<std::string> choices;
  size_t bytes = 0;
  for (const json::value& choice : array) {
    choices.emplace_back(read_string(choice, param));
    if (choices.back().empty()) refuse(param, "{}: an empty choice", param);
    bytes += choices.back().size();
  }
  check_size(bytes, param);
  return {"choice:" + json::serialize(array),
          [choices = std::move(choices)] { return choice_grammar(choices); }, std::string(param)};
}

// {"type": "text" | "json_object" | "json_schema", "json_schema": {"schema"}}, and llama-server's
// {"type": "json_object", "schema"}.
OutputShape response_format_shape(const json::value& value) {
  const json::object& format = read_object(value, "response_format");
  const json::value* type_value = find_field(format, "type");
  if (type_value == nullptr) refuse("response_format", "response_format.type is missing");
  const std::string_view type = read_string(*type_value, "response_format.type");
  if (type == "text") return {};
  if (type == "json_object") {
    const json::value* schema = find_field(format, "schema");
    return schema == nullptr ? json_object_shape("response_format")
                             : schema_shape(*schema, "response_format.schema");
  }
  if (type != "json_schema")
    refuse("response_format", "response_format.type must be text, json_object or json_schema");
  const json::value* wrapper = find_field(format, "json_schema");
  if (wrapper == nullptr) refuse("response_format", "response_format.json_schema is missing");
  const json::value* schema = find_field(read_object(*wrapper, "response_format.json_schema"), "schema");
  return schema == nullptr ? json_object_shape("response_format")
                           : schema_shape(*schema, "response_format.json_schema.schema");
}

OutputShape structured_shape(std::string_view kind, const json::value& value, std::string_view param) {
  if (kind == "json") return schema_shape(value, param);
  if (kind == "regex") return text_shape(kind, parse_regex, value, param);
  if (kind == "grammar") return text_shape(kind, parse_gbnf, value, param);
  if (kind == "choice") return choice_shape(value, param);
  if (kind == "json_object") {
    if (!value.is_bool()) refuse(param, "{} must be true or false", param);
    return value.get_bool() ? json_object_shape(param) : OutputShape{};
  }
  refuse(param, "{} is not supported; json, regex, choice, grammar or json_object", param);
}

}  // namespace

OutputShape read_output_shape(const json::object& body) {
  OutputShape shape;
  const auto take = [&](OutputShape next) {
    if (!next) return;
    if (shape)
      refuse(next.param, "{} and {} both say what the answer must be; give one", shape.param, next.param);
    shape = std::move(next);
  };
  if (const json::value* value = find_field(body, "response_format")) take(response_format_shape(*value));
  if (const json::value* value = find_field(body, "structured_outputs")) {
    for (const auto& [kind, member] : read_object(*value, "structured_outputs")) {
      if (member.is_null()) continue;
      take(structured_shape(kind, member, fmt::format("structured_outputs.{}", printable(kind))));
    }
  }
  for (const std::string_view kind : {"json", "regex", "choice", "grammar"}) {
    const std::string name = fmt::format("guided_{}", kind);
    if (const json::value* value = find_field(body, name)) take(structured_shape(kind, *value, name));
  }
  if (const json::value* value = find_field(body, "json_schema")) take(schema_shape(*value, "json_schema"));
  if (const json::value* value = find_field(body, "grammar"))
    take(structured_shape("grammar", *value, "grammar"));
  return shape;
}

}  // namespace chorus
