#pragma once

#include "server/openai_fields.h"

namespace chorus {

// The chat template's variables from a chat body: "messages", each with its content as one string or null,
// and "tools" where there are any. ApiError: a shape that is wrong, or a part that is no text.
json::object read_template_variables(const json::object& body);

// ApiError for a response_format other than text and a tool_choice other than none and auto.
void refuse_structured_output(const json::object& body);

}  // namespace chorus
