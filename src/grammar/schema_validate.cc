#include "grammar/schema_validate.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "grammar/json_numbers.h"
#include "grammar/schema_alternatives.h"

namespace chorus {
namespace {

constexpr int kMaxDepth = 200;  // of schemas that lead to schemas, over one value

bool is_whole(const json::value& number) {
  return !number.is_double() || std::floor(number.get_double()) == number.get_double();
}

}  // namespace

size_t count_characters(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

bool same_json(const json::value& a, const json::value& b) {
  if (a.is_number() && b.is_number()) return compare(to_decimal(a), to_decimal(b)) == 0;
  if (a.is_array() && b.is_array()) return std::ranges::equal(a.get_array(), b.get_array(), same_json);
  if (a.is_object() && b.is_object()) {
    if (a.get_object().size() != b.get_object().size()) return false;
    return std::ranges::all_of(a.get_object(), [&](const auto& member) {
      const json::value* other = b.get_object().if_contains(member.key());
      return other && same_json(member.value(), *other);
    });
  }
  return a == b;
}

unsigned type_of(const json::value& value) {
  if (value.is_null()) return kNull;
  if (value.is_bool()) return kBoolean;
  if (value.is_object()) return kObject;
  if (value.is_array()) return kArray;
  if (value.is_string()) return kString;
  return is_whole(value) ? kInteger : kFraction;
}

unsigned allowed_types(const SchemaDocument& document, const json::value& schema) {
  const json::value* type = document.find(schema, "type");
  if (!type) return kAnyType;
  const auto bit = [&](const json::value& name) -> unsigned {
    constexpr std::pair<std::string_view, unsigned> kNames[] = {
        {"null", kNull},    {"boolean", kBoolean}, {"object", kObject},
        {"array", kArray},  {"integer", kInteger}, {"number", kInteger | kFraction},
        {"string", kString}};
    for (const auto& [known, bits] : kNames) {
      if (name.is_string() && view(name.get_string()) == known) return bits;
    }
    document.refuse(schema, "type",
                    "must be one or a list of null, boolean, object, array, integer, number, string");
  };
  if (!type->is_array()) return bit(*type);
  unsigned bits = 0;
  for (const json::value& name : type->get_array()) bits |= bit(name);
  return bits;
}

const json::array* leading_items(const SchemaDocument& document, const json::value& schema) {
  if (const json::array* prefix = document.find_array(schema, "prefixItems")) return prefix;
  const json::value* items = document.find(schema, "items");
  return items && items->is_array() ? &items->get_array() : nullptr;
}

const json::value* rest_items(const SchemaDocument& document, const json::value& schema) {
  const json::value* items = document.find(schema, "items");
  return items && items->is_array() ? document.find(schema, "additionalItems") : items;
}

bool SchemaValidator::matches(const json::value& schema, std::string_view keyword, std::string_view pattern,
                              std::string_view text) {
  auto entry = patterns_.find(pattern);
  try {
    if (entry == patterns_.end())
      entry = patterns_.emplace(std::string(pattern), Regex(pattern, "pattern")).first;
    budget_.spend(100 + text.size());
    RegexMatcher matcher(entry->second);
    Span match{};
    return matcher.find(text, 0, match);
  } catch (const Error& error) {
    document_.refuse(schema, keyword, error.what());
  }
}

bool SchemaValidator::accepts(const json::value& value, const json::value& schema, int depth) {
  budget_.spend(1);
  if (depth > kMaxDepth) document_.refuse(schema, "$ref", "leads to itself with nothing between");
  if (schema.is_bool()) return schema.get_bool();
  if (!schema.is_object()) document_.refuse(schema, "schema", "must be an object, true or false");
  for (const std::string_view keyword :
       {"$dynamicRef", "$recursiveRef", "unevaluatedProperties", "unevaluatedItems"}) {
    if (document_.find(schema, keyword))
      document_.refuse(schema, keyword,
                       "is not supported beside enum, const and what they are compared with");
  }
  return here(value, schema, depth) && combined(value, schema, depth + 1);
}

bool SchemaValidator::here(const json::value& value, const json::value& schema, int depth) {
  budget_.spend(1);
  const auto is_same = [&](const json::value& other) {
    budget_.spend(1);
    return same_json(value, other);
  };
  if (!(allowed_types(document_, schema) & type_of(value))) return false;
  const json::value* constant = document_.find(schema, "const");
  if (constant && !is_same(*constant)) return false;
  const json::array* values = document_.find_array(schema, "enum");
  // Mostly it is one of this very list: 10,000 values would be 10^8 comparisons.
  const std::less<> before;
  const bool own = values && !before(&value, values->begin()) && before(&value, values->end());
  if (values && !own && std::ranges::none_of(*values, is_same)) return false;
  if (value.is_number()) return number(value, schema);
  if (value.is_string()) return string(view(value.get_string()), schema);
  if (value.is_array()) return array(value.get_array(), schema, depth);
  if (value.is_object()) return object(value.get_object(), schema, depth);
  return true;
}

bool SchemaValidator::combined(const json::value& value, const json::value& schema, int depth) {
  const auto holds = [&](const json::value& other) { return accepts(value, other, depth); };
  if (document_.find(schema, "$ref") && !holds(document_.target(schema))) return false;
  const json::array* all = document_.find_array(schema, "allOf");
  if (all && !std::ranges::all_of(*all, holds)) return false;
  const json::array* any = document_.find_array(schema, "anyOf");
  if (any && !std::ranges::any_of(*any, holds)) return false;
  const json::array* one = document_.find_array(schema, "oneOf");
  if (one && std::ranges::count_if(*one, holds) != 1) return false;
  const json::value* negated = document_.find(schema, "not");
  if (negated && holds(*negated)) return false;
  if (const json::value* condition = document_.find(schema, "if")) {
    const json::value* then = document_.find(schema, holds(*condition) ? "then" : "else");
    if (then && !holds(*then)) return false;
  }
  return dependents(value, schema, depth);
}

bool SchemaValidator::dependents(const json::value& value, const json::value& schema, int depth) {
  if (!value.is_object()) return true;
  const json::object& object = value.get_object();
  for (const std::string_view keyword : {"dependentRequired", "dependentSchemas", "dependencies"}) {
    const json::object* dependents = document_.find_object(schema, keyword);
    if (!dependents) continue;
    for (const auto& [name, needs] : *dependents) {
      if (!object.contains(name)) continue;
      if (!needs.is_array()) {
        if (!accepts(value, needs, depth)) return false;
        continue;
      }
      for (const json::value& need : needs.get_array()) {
        if (!need.is_string()) document_.refuse(schema, keyword, "must hold arrays of names");
        if (!object.contains(need.get_string())) return false;
      }
    }
  }
  return true;
}

bool SchemaValidator::number(const json::value& value, const json::value& schema) {
  const auto order = [&](std::string_view keyword, int otherwise) {
    const json::value* bound = document_.find_number(schema, keyword);
    return bound ? compare(to_decimal(value), to_decimal(*bound)) : otherwise;
  };
  if (order("minimum", 0) < 0 || order("exclusiveMinimum", 1) <= 0 || order("maximum", 0) > 0 ||
      order("exclusiveMaximum", -1) >= 0)
    return false;
  const json::value* divisor = document_.find_number(schema, "multipleOf");
  if (!divisor) return true;
  const double by = divisor->to_number<double>();
  if (by != std::floor(by)) document_.refuse(schema, "multipleOf", "must be a whole number here");
  return std::fmod(value.to_number<double>(), by) == 0;
}

bool SchemaValidator::holds_count(size_t count, const json::value& schema, std::string_view least,
                                  std::string_view greatest) {
  return count >= static_cast<size_t>(document_.find_count(schema, least).value_or(0)) &&
         count <= static_cast<size_t>(document_.find_count(schema, greatest).value_or(SchemaDocument::kHuge));
}

bool SchemaValidator::string(std::string_view text, const json::value& schema) {
  if (!holds_count(count_characters(text), schema, "minLength", "maxLength")) return false;
  const std::optional<std::string_view> pattern = document_.find_string(schema, "pattern");
  return !pattern || matches(schema, "pattern", *pattern, text);
}

bool SchemaValidator::array(const json::array& array, const json::value& schema, int depth) {
  if (!holds_count(array.size(), schema, "minItems", "maxItems")) return false;
  const json::array* leading = leading_items(document_, schema);
  const json::value* rest = rest_items(document_, schema);
  for (size_t i = 0; i < array.size(); ++i) {
    const json::value* item = leading && i < leading->size() ? &(*leading)[i] : rest;
    if (item && !accepts(array[i], *item, depth + 1)) return false;
  }
  if (document_.is_true(schema, "uniqueItems")) {
    for (size_t i = 0; i < array.size(); ++i) {
      budget_.spend(i);
      if (std::any_of(array.begin(), array.begin() + static_cast<std::ptrdiff_t>(i),
                      [&](const json::value& other) { return same_json(other, array[i]); }))
        return false;
    }
  }
  const json::value* contained = document_.find(schema, "contains");
  if (!contained) return true;
  const auto count = static_cast<size_t>(std::ranges::count_if(
      array, [&](const json::value& element) { return accepts(element, *contained, depth + 1); }));
  return count >= static_cast<size_t>(document_.find_count(schema, "minContains").value_or(1)) &&
         count <=
             static_cast<size_t>(document_.find_count(schema, "maxContains").value_or(SchemaDocument::kHuge));
}

bool SchemaValidator::object(const json::object& object, const json::value& schema, int depth) {
  if (!holds_count(object.size(), schema, "minProperties", "maxProperties")) return false;
  for (const std::string_view name : document_.find_names(schema, "required")) {
    if (!object.contains(json::string_view(name.data(), name.size()))) return false;
  }
  if (const json::value* names = document_.find(schema, "propertyNames")) {
    for (const auto& member : object) {
      if (!accepts(json::value(member.key()), *names, depth + 1)) return false;
    }
  }
  return members(object, schema, depth);
}

bool SchemaValidator::members(const json::object& object, const json::value& schema, int depth) {
  const json::object* properties = document_.find_object(schema, "properties");
  const json::object* patterns = document_.find_object(schema, "patternProperties");
  const json::value* additional = document_.find(schema, "additionalProperties");
  for (const auto& [key, value] : object) {
    bool covered = false;
    if (const json::value* property = properties ? properties->if_contains(key) : nullptr) {
      covered = true;
      if (!accepts(value, *property, depth + 1)) return false;
    }
    if (patterns) {
      for (const auto& [pattern, property] : *patterns) {
        if (!matches(schema, "patternProperties", view(pattern), view(key))) continue;
        covered = true;
        if (!accepts(value, property, depth + 1)) return false;
      }
    }
    if (!covered && additional && !accepts(value, *additional, depth + 1)) return false;
  }
  return true;
}

}  // namespace chorus
