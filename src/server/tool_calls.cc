#include "server/tool_calls.h"

#include <algorithm>
#include <utility>

namespace chorus {
namespace {

constexpr size_t kMaxToolNameBytes = 64;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

std::string_view tool_name(const json::value& tool) {
  return tool.get_object().at("function").get_object().at("name").get_string();
}

bool valid_tool_name(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  };
  return !name.empty() && name.size() <= kMaxToolNameBytes && std::ranges::all_of(name, allowed);
}

void check_tool(const json::value& value, const json::array& before) {
  const json::object& tool = read_object(value, "tools");
  const json::value* type = find_field(tool, "type");
  if (type == nullptr || read_string(*type, "tools.type") != "function")
    refuse("tools.type", "tools.type must be \"function\"");
  const json::value* function_value = find_field(tool, "function");
  if (function_value == nullptr) refuse("tools.function", "tools.function is missing");
  const json::object& function = read_object(*function_value, "tools.function");
  const json::value* name = find_field(function, "name");
  if (name == nullptr) refuse("tools.function.name", "tools.function.name is missing");
  const std::string_view text = read_string(*name, "tools.function.name");
  if (!valid_tool_name(text)) {
    refuse("tools.function.name",
           "tools.function.name {}: 1 to {} letters, digits, '_', '-' and '.' are allowed", printable(text),
           kMaxToolNameBytes);
  }
  if (std::ranges::any_of(before, [&](const json::value& other) { return tool_name(other) == text; }))
    refuse("tools.function.name", "tools: {} occurs twice", text);
  if (const json::value* parameters = find_field(function, "parameters"))
    read_object(*parameters, "tools.function.parameters");
}

// {"type": "function", "function": {"name"}}
std::string_view named_choice(const json::value& value) {
  const json::object& choice = read_object(value, "tool_choice");
  const json::value* function = find_field(choice, "function");
  if (function == nullptr) refuse("tool_choice", "tool_choice.function is missing");
  const json::value* name = find_field(read_object(*function, "tool_choice.function"), "name");
  if (name == nullptr) refuse("tool_choice", "tool_choice.function.name is missing");
  return read_string(*name, "tool_choice.function.name");
}

void choose_tool(ToolRequest& request, const json::value& value) {
  if (!value.is_string()) {
    const std::string name(named_choice(value));
    json::array kept;
    for (const json::value& tool : request.tools) {
      if (tool_name(tool) == name) kept.push_back(tool);
    }
    request.tools = std::move(kept);
    if (request.tools.empty()) refuse("tool_choice", "tool_choice: no tool is named {}", printable(name));
    request.choice = ToolRequest::Choice::kRequired;
    request.parallel = false;
    return;
  }
  const std::string_view choice = value.get_string();
  if (choice == "none") {
    request.choice = ToolRequest::Choice::kNone;
  } else if (choice == "required") {
    if (request.tools.empty()) refuse("tool_choice", "tool_choice is required and there are no tools");
    request.choice = ToolRequest::Choice::kRequired;
  } else if (choice != "auto") {
    refuse("tool_choice", "tool_choice must be none, auto, required or a function");
  }
}

ExprId call_expr(Grammar& grammar, const json::value& tool, const ToolDialect& dialect) {
  const json::object& function = tool.get_object().at("function").get_object();
  const json::value* parameters = find_field(function, "parameters");
  const json::value no_arguments{{"type", "object"}};
  const std::string begin =
      fmt::format("{{\"{}\": \"{}\", \"{}\": ", dialect.name_key, tool_name(tool), dialect.arguments_key);
  return grammar.sequence({grammar.literal(begin),
                           add_schema(grammar, parameters == nullptr ? no_arguments : *parameters),
                           grammar.literal("}")});
}

}  // namespace

ToolRequest read_tools(const json::object& body) {
  ToolRequest request;
  if (const json::value* tools = find_field(body, "tools")) {
    for (const json::value& tool : read_array(*tools, "tools", 0, kMaxTools)) {
      check_tool(tool, request.tools);
      request.tools.push_back(tool);
    }
  }
  if (!request.tools.empty()) request.choice = ToolRequest::Choice::kAuto;
  request.parallel = bool_field(body, "parallel_tool_calls", true);
  if (const json::value* choice = find_field(body, "tool_choice")) choose_tool(request, *choice);
  return request;
}

OutputShape tool_call_shape(const ToolRequest& request, const ToolDialect& dialect) {
  std::string key = fmt::format("tools:{}\n{}\n{}\n{}\n{}\n", dialect.between, dialect.after,
                                dialect.name_key, dialect.arguments_key, request.parallel) +
                    json::serialize(request.tools);
  if (key.size() > kMaxGrammarBytes)
    refuse("tools", "tools: {} bytes; at most {} where one must be called", key.size(), kMaxGrammarBytes);
  const auto make = [request, dialect] {
    Grammar grammar;
    std::vector<ExprId> calls;
    for (const json::value& tool : request.tools) calls.push_back(call_expr(grammar, tool, dialect));
    const ExprId call = grammar.choice(std::move(calls));
    std::vector<ExprId> parts{call};
    if (request.parallel && !dialect.between.empty()) {
      const ExprId next = grammar.sequence({grammar.literal(dialect.between), call});
      parts.push_back(grammar.repeat(next, 0, kMaxToolCalls - 1));
    }
    parts.push_back(grammar.literal(dialect.after));
    grammar.set_root(grammar.sequence(std::move(parts)));
    return grammar;
  };
  return {std::move(key), make, "tools"};
}

ToolCallReader::ToolCallReader(const ToolRequest& request, ToolDialect dialect, bool begun)
    : request_(&request),
      dialect_(std::move(dialect)),
      marker_(trimmed(dialect_.before)),
      after_(trimmed(dialect_.after)),
      in_calls_(begun) {}

std::string ToolCallReader::push(std::string_view piece) {
  held_ += piece;
  if (in_calls_) return {};
  if (marker_.empty()) {  // calls are bare objects: the whole answer or nothing of it
    const std::string_view begun = trimmed(held_);
    if (begun.empty()) return {};
    in_calls_ = at_start_ && begun.front() == '{';
    at_start_ = false;
    return in_calls_ ? std::string() : std::exchange(held_, {});
  }
  const size_t found = held_.find(marker_);
  size_t keep = 0;
  if (found != std::string::npos) {
    in_calls_ = true;
    keep = held_.size() - found;
  } else {
    for (size_t n = std::min(held_.size(), marker_.size() - 1); n > 0 && keep == 0; --n) {
      if (std::string_view(held_).ends_with(std::string_view(marker_).substr(0, n))) keep = n;
    }
  }
  std::string content = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return content;
}

std::string ToolCallReader::finish() {
  if (in_calls_ && read_calls(held_)) return {};
  calls_.clear();
  return std::exchange(held_, {});
}

// Reads objects one behind the other; between them stands what the dialect writes there, or only space.
bool ToolCallReader::read_calls(std::string_view text) {
  const std::string between(trimmed(dialect_.between));
  const auto skip = [&](std::string_view what) {
    text = trimmed(text);
    if (what.empty() || !text.starts_with(what)) return;
    text.remove_prefix(what.size());
    text = trimmed(text);
  };
  skip(marker_);
  while (!text.empty() && text.front() == '{') {
    json::stream_parser parser({}, json::parse_options{.max_depth = 64});
    boost::system::error_code error;
    const size_t length = parser.write_some(text.data(), text.size(), error);
    if (error || !parser.done()) return false;
    const json::value value = parser.release();
    const json::object& call = value.get_object();
    const json::value* name = call.if_contains(dialect_.name_key);
    const json::value* arguments = call.if_contains(dialect_.arguments_key);
    if (name == nullptr || !name->is_string()) return false;
    const auto named = [&](const json::value& tool) { return tool_name(tool) == name->get_string(); };
    if (std::ranges::none_of(request_->tools, named)) return false;
    calls_.push_back(
        {std::string(name->get_string()), arguments == nullptr ? "{}" : json::serialize(*arguments)});
    text.remove_prefix(length);
    skip(between);
    skip(after_);
    skip(marker_);
  }
  return text.empty() && !calls_.empty();
}

}  // namespace chorus
