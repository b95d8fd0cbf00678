#pragma once

#include <optional>
#include <string_view>

#include "formats/jinja_value.h"

namespace chorus::jinja {

// What Python's getattr() gives: methods of strings, lists and dicts, attributes of namespaces, loops and
// functions. Methods that change their object are refused: they are undefined and say why.
std::optional<Value> native_attribute(Context& ctx, const Value& value, std::string_view name);

}  // namespace chorus::jinja
