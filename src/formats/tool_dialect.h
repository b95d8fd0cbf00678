#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json.h"

namespace chorus {

// How a model writes calls of tools: `before` CALL {`between` CALL} `after`, where a CALL is a JSON object of
// a name and its arguments.
struct ToolDialect {
  bool native = false;  // the template shows tools, calls and results by itself
  std::string before = "<tool_call>\n", between = "\n</tool_call>\n<tool_call>\n", after = "\n</tool_call>";
  std::string name_key = "name", arguments_key = "arguments";
};

// The text of a conversation under a chat template; `variables` are the template's. Throws Error.
using RenderChat = std::function<std::string(const json::object& variables, bool add_generation_prompt)>;

// Finds a template's way by rendering a call and looking at what came of it: no list of models. A template
// that does not write calls as JSON objects, or knows no tools, gets the way of Hermes, which prepare_tools()
// then explains to the model. `stop_texts` end a turn.
ToolDialect find_tool_dialect(const RenderChat& render, const std::vector<std::string>& stop_texts);

// Makes a conversation with "tools" ready for the template: arguments that came as JSON text become objects;
// where the dialect is not native, tools, calls and results are written into the messages.
void prepare_tools(json::object& variables, const ToolDialect& dialect);

}  // namespace chorus
