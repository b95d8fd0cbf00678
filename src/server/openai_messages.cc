#include "server/openai_messages.h"

#include <algorithm>
#include <array>

namespace chorus {
namespace {

// The texts of a list of parts, one a line.
json::string join_parts(const json::array& parts) {
  json::string text;
  for (const json::value& element : parts) {
    const json::object& part = read_object(element, "messages.content");
    const json::value* type = find_field(part, "type");
    if (type == nullptr) refuse("messages.content", "messages.content: a part has no type");
    const std::string_view kind = read_string(*type, "messages.content.type");
    if (kind != "text")
      refuse("messages.content", "messages.content: parts of type {} are not supported", printable(kind));
    const json::value* piece = find_field(part, "text");
    if (piece == nullptr) refuse("messages.content", "messages.content: a part of type text has no text");
    if (!text.empty()) text += '\n';
    text += json::string_view(read_string(*piece, "messages.content.text"));
  }
  return text;
}

json::object read_message(const json::value& value) {
  constexpr std::array<std::string_view, 5> kRoles = {"system", "developer", "user", "assistant", "tool"};
  json::object message = read_object(value, "messages");
  const json::value* role_value = find_field(message, "role");
  if (role_value == nullptr) refuse("messages.role", "messages.role is missing");
  const std::string role(read_string(*role_value, "messages.role"));
  if (std::ranges::find(kRoles, role) == kRoles.end())
    refuse("messages.role", "messages.role must be one of {}", fmt::join(kRoles, ", "));
  // Models' templates know OpenAI's newer name for it by the old one.
  if (role == "developer") message["role"] = "system";
  const json::value* content = find_field(message, "content");
  if (content == nullptr) {
    if (role != "assistant" || find_field(message, "tool_calls") == nullptr)
      refuse("messages.content", "messages.content is missing");
    message["content"] = nullptr;
  } else if (content->is_array()) {
    message["content"] = join_parts(content->get_array());
  } else if (!content->is_string()) {
    refuse("messages.content", "messages.content must be a string or a list of parts");
  }
  return message;
}

}  // namespace

json::object read_template_variables(const json::object& body) {
  const json::value* value = find_field(body, "messages");
  if (value == nullptr) refuse("messages", "messages is missing");
  json::array messages;
  for (const json::value& message : read_array(*value, "messages", 1, kMaxMessages))
    messages.push_back(read_message(message));
  json::object variables{{"messages", std::move(messages)}};
  const json::value* tools = find_field(body, "tools");
  if (tools == nullptr) return variables;
  for (const json::value& tool : read_array(*tools, "tools", 0, kMaxMessages)) read_object(tool, "tools");
  const json::value* choice = find_field(body, "tool_choice");
  const bool hidden = choice != nullptr && choice->is_string() && choice->get_string() == "none";
  if (!hidden && !tools->get_array().empty()) variables["tools"] = *tools;
  return variables;
}

void refuse_structured_output(const json::object& body) {
  if (const json::value* format = find_field(body, "response_format")) {
    const json::value* type = find_field(read_object(*format, "response_format"), "type");
    if (type == nullptr) refuse("response_format", "response_format.type is missing");
    if (read_string(*type, "response_format.type") != "text")
      refuse("response_format", "response_format other than text is not supported yet");
  }
  if (const json::value* choice = find_field(body, "tool_choice")) {
    if (!choice->is_string() || (choice->get_string() != "none" && choice->get_string() != "auto"))
      refuse("tool_choice", "tool_choice other than none and auto is not supported yet");
  }
}

}  // namespace chorus
