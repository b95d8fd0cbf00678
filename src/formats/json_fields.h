#pragma once

#include <string>
#include <string_view>

#include "formats/json.h"

namespace chorus {

// Typed reads of a parsed file. `where` names the value's place, such as "tokenizer.json: model.merges";
// every Error begins with it.
const json::object& as_object(const json::value& value, std::string_view where);
const json::array& as_array(const json::value& value, std::string_view where);
std::string_view as_string(const json::value& value, std::string_view where);
int64_t as_integer(const json::value& value, int64_t min, int64_t max, std::string_view where);

// The member of an object; nullptr where it is absent or null.
const json::value* find_member(const json::object& object, std::string_view key);
// Error: absent or null.
const json::value& member(const json::object& object, std::string_view key, std::string_view where);
std::string_view string_member(const json::object& object, std::string_view key, std::string_view where);
// The fallback where the member is absent or null.
bool bool_member(const json::object& object, std::string_view key, bool fallback, std::string_view where);

}  // namespace chorus
