#pragma once

#include "server/tool_calls.h"

namespace chorus {

// The chat template's variables from a chat body: "messages", each with its content as one string or null,
// "tools" where some are offered, and the members of "chat_template_kwargs". ApiError: a shape that is wrong,
// or a part that is no text.
json::object read_template_variables(const json::object& body, const ToolRequest& tools);

// Whether a message calls a tool or is what one answered.
bool has_tool_messages(const json::object& variables);

}  // namespace chorus
