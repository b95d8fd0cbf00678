#pragma once

#include <span>
#include <string_view>

#include "formats/jinja_value.h"

namespace chorus::jinja {

struct Filter {
  std::string_view name;
  Value (*apply)(Context& ctx, const Value& value, const Args& args);
};

std::span<const Filter> text_filters();
std::span<const Filter> number_filters();
std::span<const Filter> sequence_filters();
std::span<const Filter> selection_filters();

// Null: no such filter.
const Filter* find_filter(std::string_view name);

// Items of `value` by a path as filters take it: "a.b.0", or an integer.
Value by_path(Context& ctx, const Value& value, const Value& path);

}  // namespace chorus::jinja
