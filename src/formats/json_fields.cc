#include "formats/json_fields.h"

#include "base/error.h"

namespace chorus {
namespace {

[[noreturn]] void wrong_kind(const json::value& value, std::string_view right, std::string_view where) {
  const json::string_view kind = json::to_string(value.kind());
  fail("{}: {}; must be {}", where, std::string_view(kind.data(), kind.size()), right);
}

}  // namespace

const json::object& as_object(const json::value& value, std::string_view where) {
  if (!value.is_object()) wrong_kind(value, "an object", where);
  return value.get_object();
}

const json::array& as_array(const json::value& value, std::string_view where) {
  if (!value.is_array()) wrong_kind(value, "an array", where);
  return value.get_array();
}

std::string_view as_string(const json::value& value, std::string_view where) {
  if (!value.is_string()) wrong_kind(value, "a string", where);
  return {value.get_string().data(), value.get_string().size()};
}

int64_t as_integer(const json::value& value, int64_t min, int64_t max, std::string_view where) {
  if (!value.is_int64()) wrong_kind(value, fmt::format("an integer from {} to {}", min, max), where);
  const int64_t number = value.get_int64();
  if (number < min || number > max) fail("{}: {}; must be from {} to {}", where, number, min, max);
  return number;
}

const json::value* find_member(const json::object& object, std::string_view key) {
  const json::value* found = object.if_contains({key.data(), key.size()});
  return found == nullptr || found->is_null() ? nullptr : found;
}

const json::value& member(const json::object& object, std::string_view key, std::string_view where) {
  const json::value* found = find_member(object, key);
  if (found == nullptr) fail("{}: no '{}'", where, key);
  return *found;
}

std::string_view string_member(const json::object& object, std::string_view key, std::string_view where) {
  return as_string(member(object, key, where), fmt::format("{}.{}", where, key));
}

bool bool_member(const json::object& object, std::string_view key, bool fallback, std::string_view where) {
  const json::value* found = find_member(object, key);
  if (found == nullptr) return fallback;
  if (!found->is_bool()) wrong_kind(*found, "true or false", fmt::format("{}.{}", where, key));
  return found->get_bool();
}

}  // namespace chorus
