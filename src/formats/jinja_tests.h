#pragma once

#include <string_view>

#include "formats/jinja_value.h"

namespace chorus::jinja {

// What follows `is`.
struct Test {
  std::string_view name;
  bool (*holds)(Context& ctx, const Value& value, const Args& args);
};

// Null: no such test.
const Test* find_test(std::string_view name);

}  // namespace chorus::jinja
