#include "train/data_records.h"

#include <algorithm>
#include <array>

#include "formats/json_fields.h"

namespace chorus {
namespace {

std::string_view view(const json::string& text) { return {text.data(), text.size()}; }

std::string keys_of(const json::object& record) {
  std::string keys;
  for (const auto& [key, value] : record) {
    if (keys.size() > 120) return keys + ", ...";
    keys += fmt::format("{}\"{}\"", keys.empty() ? "" : ", ", printable({key.data(), key.size()}, 30));
  }
  return keys.empty() ? "no keys" : "the keys " + keys;
}

const json::string& text_member(const json::object& record, std::string_view key, std::string_view where) {
  const json::value* value = find_member(record, key);
  if (value == nullptr) fail("{}no \"{}\"; must be a string", where, key);
  if (!value->is_string()) fail("{}\"{}\" must be a string", where, key);
  return value->get_string();
}

json::string optional_text(const json::object& record, std::string_view key) {
  return find_member(record, key) == nullptr ? json::string() : text_member(record, key, "");
}

json::object say(std::string_view role, json::value content) {
  return {{"role", role}, {"content", std::move(content)}};
}

// The texts of OpenAI's content parts, one a line, as they are served.
json::string joined_parts(const json::array& parts, std::string_view where) {
  json::string text;
  for (const json::value& part : parts) {
    const json::value* type = part.is_object() ? find_member(part.get_object(), "type") : nullptr;
    if (type == nullptr || *type != "text")
      fail("{}a part of \"content\" is not of type \"text\"; only text can be learned", where);
    if (!text.empty()) text += '\n';
    text += text_member(part.get_object(), "text", where);
  }
  return text;
}

void check_tool_calls(const json::value& calls, std::string_view where) {
  if (!calls.is_array() || calls.get_array().empty()) fail("{}\"tool_calls\" must be a list of calls", where);
  for (const json::value& call : calls.get_array()) {
    const json::value* function = call.is_object() ? find_member(call.get_object(), "function") : nullptr;
    if (function == nullptr || !function->is_object())
      fail("{}a call needs \"function\", an object of \"name\" and \"arguments\"", where);
    text_member(function->get_object(), "name", where);
    const json::value* arguments = find_member(function->get_object(), "arguments");
    if (arguments == nullptr || !(arguments->is_string() || arguments->is_object()))
      fail("{}a call's \"arguments\" must be a JSON text or an object", where);
  }
}

void check_weight(const json::object& turn, std::string_view where) {
  const json::value* weight = find_member(turn, "weight");
  if (weight == nullptr) return;
  const bool good = weight->is_number() && (*weight == 0 || *weight == 1);
  if (!good) fail("{}\"weight\" must be 0 or 1", where);
}

// A turn of OpenAI's form as the template wants it; `number` from 1.
json::object read_turn(const json::value& value, size_t number) {
  constexpr std::array<std::string_view, 5> kRoles = {"system", "developer", "user", "assistant", "tool"};
  const std::string where = fmt::format("turn {}: ", number);
  if (!value.is_object()) fail("{}must be an object of \"role\" and \"content\"", where);
  json::object turn = value.get_object();
  const std::string role(view(text_member(turn, "role", where)));
  if (std::ranges::find(kRoles, role) == kRoles.end())
    fail("{}the role \"{}\"; must be one of {}", where, printable(role), fmt::join(kRoles, ", "));
  if (role == "developer") turn["role"] = "system";  // OpenAI's newer name, which templates do not know
  const json::value* calls = find_member(turn, "tool_calls");
  if (calls != nullptr && role != "assistant") fail("{}only the assistant can have \"tool_calls\"", where);
  if (calls == nullptr) turn.erase("tool_calls");
  if (calls != nullptr) check_tool_calls(*calls, where);
  check_weight(turn, where);
  const json::value* content = find_member(turn, "content");
  if (content == nullptr) {
    if (calls == nullptr) fail("{}no \"content\"", where);
    turn["content"] = nullptr;
  } else if (content->is_array()) {
    turn["content"] = joined_parts(content->get_array(), where);
  } else if (!content->is_string()) {
    fail("{}\"content\" must be a string", where);
  }
  return turn;
}

void append_turns(const json::value& list, std::string_view key, json::array& turns) {
  if (!list.is_array()) fail("\"{}\" must be a list of turns", key);
  if (list.get_array().size() > kMaxTurns)
    fail("{} turns; at most {} can be learned", list.get_array().size(), kMaxTurns);
  for (const json::value& turn : list.get_array()) turns.push_back(read_turn(turn, turns.size() + 1));
}

// A list of tools, or the JSON text of one.
json::array read_tools(const json::object& record) {
  const json::value* tools = find_member(record, "tools");
  if (tools == nullptr) return {};
  json::value parsed;
  if (tools->is_string()) {
    if (is_blank(view(tools->get_string()))) return {};
    parsed = parse_json(view(tools->get_string()), "\"tools\"");
    tools = &parsed;
  }
  if (!tools->is_array()) fail("\"tools\" must be a list of functions");
  for (const json::value& tool : tools->get_array()) {
    if (!tool.is_object()) fail("\"tools\" must be a list of objects");
  }
  return tools->get_array();
}

Example read_chat(const json::object& record) {
  Example example;
  append_turns(record.at("messages"), "messages", example.messages);
  example.tools = read_tools(record);
  return example;
}

// Strings are joined as they are; lists of turns make one conversation.
Example read_completion(const json::object& record) {
  Example example;
  const json::value& prompt = record.at("prompt");
  const json::value& completion = record.at("completion");
  if (prompt.is_string() && completion.is_string()) {
    example.messages = {say("user", prompt), say("assistant", completion)};
    example.templated = false;
    return example;
  }
  if (!prompt.is_array() || !completion.is_array())
    fail("\"prompt\" and \"completion\" must both be strings, or both lists of turns");
  append_turns(prompt, "prompt", example.messages);
  append_turns(completion, "completion", example.messages);
  example.tools = read_tools(record);
  return example;
}

// The earlier pairs of a conversation, as LLaMA-Factory's form has them.
void append_history(const json::object& record, json::array& turns) {
  const json::value* history = find_member(record, "history");
  if (history == nullptr) return;
  if (!history->is_array() || history->get_array().size() > kMaxTurns / 2)
    fail("\"history\" must be a list of at most {} pairs", kMaxTurns / 2);
  for (const json::value& pair : history->get_array()) {
    const bool good = pair.is_array() && pair.get_array().size() == 2 && pair.get_array()[0].is_string() &&
                      pair.get_array()[1].is_string();
    if (!good) fail("\"history\" must be a list of pairs of strings");
    turns.push_back(say("user", pair.get_array()[0]));
    turns.push_back(say("assistant", pair.get_array()[1]));
  }
}

Example read_alpaca(const json::object& record) {
  Example example;
  if (const json::string system = optional_text(record, "system"); !system.empty())
    example.messages.push_back(say("system", system));
  append_history(record, example.messages);
  json::string request = text_member(record, "instruction", "");
  if (const json::string input = optional_text(record, "input"); !input.empty()) {
    if (!request.empty()) request += '\n';
    request += input;
  }
  example.messages.push_back(say("user", request));
  example.messages.push_back(say("assistant", text_member(record, "output", "")));
  return example;
}

// One turn {"from", "value"}. A function_call's value is the JSON text of a name and arguments.
json::object read_sharegpt_turn(const json::value& value, size_t number) {
  const std::string where = fmt::format("turn {}: ", number);
  if (!value.is_object()) fail("{}must be an object of \"from\" and \"value\"", where);
  const json::object& turn = value.get_object();
  if (turn.contains("role")) return read_turn(value, number);
  const std::string from(view(text_member(turn, "from", where)));
  const json::string& text = text_member(turn, "value", where);
  if (from == "function_call") {
    const json::value call = parse_json(view(text), fmt::format("turn {}", number));
    json::object calling{{"role", "assistant"}, {"content", ""}};
    calling["tool_calls"] = {{{"type", "function"}, {"function", call}}};
    return read_turn(calling, number);
  }
  json::object said;
  if (from == "human" || from == "user") {
    said = say("user", text);
  } else if (from == "gpt" || from == "assistant" || from == "model") {
    said = say("assistant", text);
  } else if (from == "system") {
    said = say("system", text);
  } else if (from == "observation" || from == "tool") {
    said = say("tool", text);
  } else {
    fail("{}from \"{}\"; must be human, gpt, system, user, assistant, function_call or observation", where,
         printable(from));
  }
  if (const json::value* weight = find_member(turn, "weight")) said["weight"] = *weight;
  check_weight(said, where);
  return said;
}

Example read_sharegpt(const json::object& record) {
  const json::value& list = record.at("conversations");
  if (!list.is_array()) fail("\"conversations\" must be a list of turns");
  if (list.get_array().size() > kMaxTurns)
    fail("{} turns; at most {} can be learned", list.get_array().size(), kMaxTurns);
  Example example;
  if (const json::string system = optional_text(record, "system"); !system.empty())
    example.messages.push_back(say("system", system));
  for (const json::value& turn : list.get_array())
    example.messages.push_back(read_sharegpt_turn(turn, example.messages.size() + 1));
  example.tools = read_tools(record);
  return example;
}

Example read_text(const json::object& record) {
  Example example;
  example.text = std::string(view(text_member(record, "text", "")));
  if (is_blank(example.text)) fail("\"text\" is empty");
  return example;
}

Example read_example(const json::object& record, DataFormat form) {
  switch (form) {
    case DataFormat::kChat:
      return read_chat(record);
    case DataFormat::kCompletion:
      return read_completion(record);
    case DataFormat::kAlpaca:
      return read_alpaca(record);
    case DataFormat::kShareGpt:
      return read_sharegpt(record);
    case DataFormat::kText:
    case DataFormat::kCsv:
      break;
  }
  return read_text(record);
}

void check_turns(const Example& example) {
  if (!example.text.empty()) return;
  if (example.messages.size() < 2) fail("{} turns; must be two or more", example.messages.size());
  const json::string& last = example.messages.back().at("role").get_string();
  if (last != "assistant")
    fail("the last turn is of the {}; must be of the assistant", printable(view(last)));
}

}  // namespace

std::optional<DataFormat> form_of(const json::object& record) {
  if (record.contains("messages")) return DataFormat::kChat;
  if (record.contains("conversations")) return DataFormat::kShareGpt;
  if (record.contains("prompt") && record.contains("completion")) return DataFormat::kCompletion;
  if (record.contains("instruction") && record.contains("output")) return DataFormat::kAlpaca;
  if (record.contains("text")) return DataFormat::kText;
  return std::nullopt;
}

void read_record(DataFile& file, int line, const json::value& value) {
  try {
    if (!value.is_object()) fail("a record must be an object with {}", kRecordForms);
    const json::object& record = value.get_object();
    const std::optional<DataFormat> form = form_of(record);
    if (!form) fail("{}; must have {}", keys_of(record), kRecordForms);
    file.known_form = true;
    Example example = read_example(record, *form);
    check_turns(example);
    file.add(line, *form, std::move(example));
  } catch (const Error& error) {
    file.problem(line, error.what());
  }
}

}  // namespace chorus
