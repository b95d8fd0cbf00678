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

// [{"id", "type": "function", "function": {"name", "arguments"}}]
void check_tool_calls(const json::value& value) {
  constexpr std::string_view kParam = "messages.tool_calls";
  for (const json::value& element : read_array(value, kParam, 1, kMaxTools)) {
    const json::value* function = find_field(read_object(element, kParam), "function");
    if (function == nullptr) refuse(kParam, "messages.tool_calls: a call has no function");
    const json::value* name = find_field(read_object(*function, kParam), "name");
    if (name == nullptr) refuse(kParam, "messages.tool_calls: a call's function has no name");
    read_string(*name, kParam);
    const json::value* arguments = find_field(function->get_object(), "arguments");
    if (arguments == nullptr || !(arguments->is_string() || arguments->is_object()))
      refuse(kParam, "messages.tool_calls: a call's arguments must be a JSON text");
  }
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
  const json::value* calls = find_field(message, "tool_calls");
  if (calls == nullptr || role != "assistant") {
    message.erase("tool_calls");
    calls = nullptr;
  } else {
    check_tool_calls(*calls);
  }
  const json::value* content = find_field(message, "content");
  if (content == nullptr) {
    if (calls == nullptr) refuse("messages.content", "messages.content is missing");
    message["content"] = nullptr;
  } else if (content->is_array()) {
    message["content"] = join_parts(content->get_array());
  } else if (!content->is_string()) {
    refuse("messages.content", "messages.content must be a string or a list of parts");
  }
  return message;
}

}  // namespace

json::object read_template_variables(const json::object& body, const ToolRequest& tools) {
  const json::value* value = find_field(body, "messages");
  if (value == nullptr) refuse("messages", "messages is missing");
  json::object variables;
  if (const json::value* more = find_field(body, "chat_template_kwargs"))
    variables = read_object(*more, "chat_template_kwargs");
  json::array messages;
  for (const json::value& message : read_array(*value, "messages", 1, kMaxMessages))
    messages.push_back(read_message(message));
  variables["messages"] = std::move(messages);
  variables.erase("tools");
  if (tools.offered()) variables["tools"] = tools.tools;
  return variables;
}

bool has_tool_messages(const json::object& variables) {
  return std::ranges::any_of(variables.at("messages").get_array(), [](const json::value& message) {
    return message.get_object().contains("tool_calls") || message.at("role") == "tool";
  });
}

}  // namespace chorus
