#pragma once

#include <string_view>

#include "formats/jinja_value.h"

namespace chorus::jinja {

// text % arguments: a tuple, a dict for %(name)s, or one value.
Value format_percent(Context& ctx, std::string_view text, const Value& arguments);

// text.format(...): {}, {0}, {name}, with attributes, indices, !r and !s, without format specifications.
Value format_braces(Context& ctx, std::string_view text, const Args& args);

// json.dumps(), with the parameters that transformers gives to the tojson filter.
Value to_json(Context& ctx, const Value& value, const Args& args);

// strftime() of a UTC time. Error: a directive that C does not define.
Value format_time(Context& ctx, std::string_view format, int64_t unix_seconds);

}  // namespace chorus::jinja
