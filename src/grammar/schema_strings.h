#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/json_grammar.h"
#include "grammar/schema_alternatives.h"

namespace chorus {

// The regular expression that stands for a format: every text it matches is of the format, not every text of
// the format matches. Nothing: a format we do not know.
std::optional<std::string_view> format_pattern(std::string_view format);

// What a JSON string's quotes hold by minLength, maxLength, pattern and format. `plain`: each character in
// one writing only. Error: a pattern that cannot be had, or not together with the lengths.
ExprId string_content(JsonGrammar& text, const SchemaDocument& document, const SchemaAlternatives& schemas,
                      const Alternative& alternative, bool plain);
// What quotes hold so that `pattern` matches somewhere in it.
ExprId matching_content(JsonGrammar& text, const SchemaDocument& document, const json::value& schema,
                        std::string_view keyword, std::string_view pattern);
// A JSON string that is none of `names`.
ExprId string_but(JsonGrammar& text, std::vector<std::string> names);

}  // namespace chorus
