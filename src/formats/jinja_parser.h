#pragma once

#include <string_view>

#include "formats/jinja_ast.h"

namespace chorus::jinja {

// Parses a template, nested at most `depth` levels. Error: "chat template: line N: ..." for a syntax error
// and for what is outside the subset (inheritance, imports, unknown filters and tests).
Block parse_template(std::string_view source, int depth);

}  // namespace chorus::jinja
