#include "grammar/schema_alternatives.h"

namespace chorus {
namespace {

json::array type_names(unsigned types) {
  json::array names;
  if (types & kNull) names.emplace_back("null");
  if (types & kBoolean) names.emplace_back("boolean");
  if (types & kObject) names.emplace_back("object");
  if (types & kArray) names.emplace_back("array");
  if (types & kString) names.emplace_back("string");
  if ((types & kInteger) && (types & kFraction)) {
    names.emplace_back("number");
  } else if (types & kInteger) {
    names.emplace_back("integer");
  }
  return names;
}

void negate_bounds(const SchemaDocument& document, const json::value& schema, json::array& result) {
  constexpr const char* kNumbers[][2] = {{"minimum", "exclusiveMaximum"},
                                         {"maximum", "exclusiveMinimum"},
                                         {"exclusiveMinimum", "maximum"},
                                         {"exclusiveMaximum", "minimum"}};
  for (const auto& [keyword, opposite] : kNumbers) {
    if (const json::value* bound = document.find_number(schema, keyword))
      result.push_back(json::object{{"type", "number"}, {opposite, *bound}});
  }
  constexpr const char* kCounts[][3] = {{"minLength", "maxLength", "string"},
                                        {"minItems", "maxItems", "array"},
                                        {"minProperties", "maxProperties", "object"}};
  for (const auto& [least, greatest, type] : kCounts) {
    if (const std::optional<int> count = document.find_count(schema, least); count.value_or(0) > 0)
      result.push_back(json::object{{"type", type}, {greatest, *count - 1}});
    if (const std::optional<int> count = document.find_count(schema, greatest))
      result.push_back(json::object{{"type", type}, {least, *count + 1}});
  }
}

void negate_members(const SchemaDocument& document, const json::value& schema, json::array& result) {
  if (const json::object* properties = document.find_object(schema, "properties")) {
    for (const auto& [key, property] : *properties) {
      if (property.is_object() && property.get_object().empty()) continue;
      result.push_back(json::object{{"type", "object"},
                                    {"required", json::array{key}},
                                    {"properties", json::object{{key, json::object{{"not", property}}}}}});
    }
  }
  for (const std::string_view name : document.find_names(schema, "required")) {
    const json::string_view key(name.data(), name.size());
    result.push_back(json::object{{"type", "object"}, {"properties", json::object{{key, false}}}});
  }
}

}  // namespace

json::array schema_negations(const SchemaDocument& document, const json::value& schema) {
  json::array result;
  if (schema.is_bool()) {
    if (!schema.get_bool()) result.emplace_back(true);
    return result;
  }
  if (!schema.is_object()) document.refuse(schema, "schema", "must be an object, true or false");
  if (document.find(schema, "type")) {
    json::array others = type_names(kAnyType & ~allowed_types(document, schema));
    if (!others.empty()) result.push_back(json::object{{"type", std::move(others)}});
  }
  negate_bounds(document, schema, result);
  negate_members(document, schema, result);
  if (const json::value* negated = document.find(schema, "not")) result.push_back(*negated);
  if (const json::array* all = document.find_array(schema, "allOf")) {
    for (const json::value& part : *all) result.push_back(json::object{{"not", part}});
  }
  if (const json::array* any = document.find_array(schema, "anyOf")) {
    json::array none;
    for (const json::value& part : *any) none.push_back(json::object{{"not", part}});
    result.push_back(json::object{{"allOf", std::move(none)}});
  }
  return result;
}

}  // namespace chorus
