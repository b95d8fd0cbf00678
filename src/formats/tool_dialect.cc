#include "formats/tool_dialect.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"

namespace chorus {
namespace {

constexpr std::string_view kName = "probe_tool", kOther = "other_tool", kKey = "probe_key",
                           kValue = "probe_value";

json::object probe_call(std::string_view name, std::string_view id) {
  return {{"id", id},  // nine letters or digits: some templates insist
          {"type", "function"},
          {"function", {{"name", name}, {"arguments", {{kKey, kValue}}}}}};
}

json::array probe_tools() {
  json::array tools;
  for (const std::string_view name : {kName, kOther}) {
    const json::object parameters{{"type", "object"},
                                  {"properties", {{kKey, {{"type", "string"}, {"description", "a key"}}}}}};
    tools.push_back({{"type", "function"},
                     {"function", {{"name", name}, {"description", "a tool"}, {"parameters", parameters}}}});
  }
  return tools;
}

json::object conversation(json::array calls) {
  json::array messages{{{"role", "user"}, {"content", "question"}}};
  if (!calls.empty())
    messages.push_back({{"role", "assistant"}, {"content", ""}, {"tool_calls", std::move(calls)}});
  return {{"messages", std::move(messages)}, {"tools", probe_tools()}};
}

// What the assistant writes in a turn of these calls, up to what ends the turn.
std::optional<std::string> answer_text(const RenderChat& render, const std::vector<std::string>& stop_texts,
                                       json::array calls) {
  try {
    const std::string prompt = render(conversation({}), true);
    std::string whole = render(conversation(std::move(calls)), false);
    const auto differ = std::ranges::mismatch(prompt, whole);
    if (prompt.find(kName) == std::string::npos) return std::nullopt;  // tools are not shown
    std::string text(differ.in2, whole.end());
    size_t end = text.size();
    for (const std::string& stop : stop_texts) {
      if (!stop.empty()) end = std::min(end, text.find(stop));
    }
    text.resize(std::min(end, text.size()));
    return text;
  } catch (const Error&) {
    return std::nullopt;
  }
}

struct FoundCall {
  size_t begin = 0, end = 0;
  std::string name_key, arguments_key;
};

// The outermost JSON object of `text` from `from` on that is a call of `name`.
std::optional<FoundCall> find_call(std::string_view text, size_t from, std::string_view name) {
  const size_t mark = text.find(name, from);
  if (mark == std::string_view::npos) return std::nullopt;
  for (size_t begin = text.find('{', from); begin < mark; begin = text.find('{', begin + 1)) {
    json::stream_parser parser;
    boost::system::error_code error;
    const size_t parsed = parser.write_some(text.data() + begin, text.size() - begin, error);
    if (error || !parser.done()) continue;
    const json::value value = parser.release();
    // The parser has taken the space behind the object too.
    const size_t end = text.rfind('}', begin + parsed - 1) + 1;
    FoundCall call{begin, end, {}, {}};
    for (const auto& [key, member] : value.get_object()) {
      if (member.is_string() && member.get_string() == name) call.name_key = key;
      if (member.is_object() && member.get_object().contains(kKey)) call.arguments_key = key;
    }
    if (!call.name_key.empty() && !call.arguments_key.empty()) return call;
  }
  return std::nullopt;
}

std::string joined_tools(const json::array& tools) {
  std::string text;
  for (const json::value& tool : tools) text += json::serialize(tool) + "\n";
  return text;
}

std::string instructions(const json::array& tools, const ToolDialect& dialect) {
  return fmt::format(
      "You may call functions to answer. These are their signatures:\n<tools>\n{}</tools>\n\n"
      "To call one, answer with a JSON object of its name and arguments:\n{}{{\"{}\": \"FUNCTION\", \"{}\": "
      "{{\"ARGUMENT\": \"VALUE\"}}}}{}",
      joined_tools(tools), dialect.before, dialect.name_key, dialect.arguments_key, dialect.after);
}

std::string written_calls(const json::array& calls, const ToolDialect& dialect) {
  std::string text;
  for (const json::value& call : calls) {
    const json::object& function = call.at("function").get_object();
    text += text.empty() ? dialect.before : dialect.between;
    text += json::serialize(json::object{{dialect.name_key, function.at("name")},
                                         {dialect.arguments_key, function.at("arguments")}});
  }
  return text + dialect.after;
}

// Calls carry their arguments as JSON text; templates want the object. What is no object stays as it is.
void parse_arguments(json::object& message) {
  json::value* calls = message.if_contains("tool_calls");
  if (calls == nullptr || !calls->is_array()) return;
  for (json::value& call : calls->get_array()) {
    json::value& arguments = call.at("function").get_object()["arguments"];
    if (!arguments.is_string()) continue;
    try {
      json::value parsed = parse_json(arguments.get_string(), "arguments");
      if (parsed.is_object()) arguments = std::move(parsed);
    } catch (const Error&) {
    }
  }
}

// Calls and results as plain text, for a template that knows neither.
void write_out(json::object& message, const ToolDialect& dialect) {
  if (const json::value* calls = message.if_contains("tool_calls"); calls != nullptr && calls->is_array()) {
    const std::string text = written_calls(calls->get_array(), dialect);
    json::value& content = message["content"];  // may move the calls
    const bool more = content.is_string() && !content.get_string().empty();
    content = more ? std::string(content.get_string()) + "\n" + text : text;
    message.erase("tool_calls");
  }
  if (message.at("role") == "tool") {
    const std::string result(message.at("content").get_string());
    message = {{"role", "user"}, {"content", "<tool_response>\n" + result + "\n</tool_response>"}};
  }
}

}  // namespace

ToolDialect find_tool_dialect(const RenderChat& render, const std::vector<std::string>& stop_texts) {
  const auto one = answer_text(render, stop_texts, {probe_call(kName, "abcde1234")});
  const auto call = one ? find_call(*one, 0, kName) : std::nullopt;
  if (!call) return {};
  ToolDialect dialect{true,           one->substr(0, call->begin), "", one->substr(call->end),
                      call->name_key, call->arguments_key};
  const auto two =
      answer_text(render, stop_texts, {probe_call(kName, "abcde1234"), probe_call(kOther, "abcde5678")});
  const auto first = two ? find_call(*two, 0, kName) : std::nullopt;
  const auto second = first ? find_call(*two, first->end, kOther) : std::nullopt;
  if (second) dialect.between = two->substr(first->end, second->begin - first->end);
  return dialect;
}

void prepare_tools(json::object& variables, const ToolDialect& dialect) {
  json::array& messages = variables.at("messages").get_array();
  for (json::value& message : messages) {
    parse_arguments(message.get_object());
    if (!dialect.native) write_out(message.get_object(), dialect);
  }
  const json::value* tools = variables.if_contains("tools");
  if (dialect.native || tools == nullptr) return;
  const std::string text = instructions(tools->get_array(), dialect);
  if (messages[0].at("role") == "system") {
    json::value& content = messages[0].get_object()["content"];
    content = std::string(content.get_string()) + "\n\n" + text;
  } else {
    messages.insert(messages.begin(), json::object{{"role", "system"}, {"content", text}});
  }
  variables.erase("tools");
}

}  // namespace chorus
