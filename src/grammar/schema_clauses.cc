// What the clauses of an alternative say together.
#include <algorithm>

#include "grammar/schema_alternatives.h"

namespace chorus {
namespace {

const json::value kConstants[] = {nullptr, true, false};

}  // namespace

unsigned SchemaAlternatives::types(const Alternative& alternative) const {
  unsigned types = kAnyType;
  for (const Clause& clause : alternative.clauses) types &= allowed_types(document_, *clause.schema);
  return types;
}

std::optional<Conjunction> SchemaAlternatives::values(const Alternative& alternative) const {
  Conjunction result;
  for (const Clause& clause : alternative.clauses) {
    if (const json::value* constant = document_.find(*clause.schema, "const")) return Conjunction{constant};
  }
  for (const Clause& clause : alternative.clauses) {
    const json::array* values = document_.find_array(*clause.schema, "enum");
    if (!values) continue;
    for (const json::value& value : *values) result.push_back(&value);
    return result;
  }
  const unsigned types = this->types(alternative);
  if (types == 0 || (types & ~static_cast<unsigned>(kNull | kBoolean)) != 0) return std::nullopt;
  for (const json::value& value : kConstants) {
    if (types & type_of(value)) result.push_back(&value);
  }
  return result;
}

bool SchemaAlternatives::accepts(const Alternative& alternative, const json::value& value) {
  const auto is_accepted_by = [&](const json::value& part) {
    return [&](const json::value* schema) { return validator_.accepts(part, *schema); };
  };
  for (const Clause& clause : alternative.clauses) {
    if (!validator_.accepts_here(value, *clause.schema)) return false;
  }
  if (std::ranges::any_of(alternative.excluded, is_accepted_by(value))) return false;
  if (value.is_object()) {
    for (const auto& [key, part] : value.get_object()) {
      if (!std::ranges::all_of(unevaluated_member(alternative, view(key)), is_accepted_by(part)))
        return false;
    }
  } else if (value.is_array()) {
    for (size_t i = 0; i < value.get_array().size(); ++i) {
      if (!std::ranges::all_of(unevaluated_item(alternative, i), is_accepted_by(value.get_array()[i])))
        return false;
    }
  }
  return true;
}

NumberRange SchemaAlternatives::numbers(const Alternative& alternative) const {
  NumberRange range;
  for (const Clause& clause : alternative.clauses) {
    for (const bool exclusive : {false, true}) {
      const json::value* low = document_.find(*clause.schema, exclusive ? "exclusiveMinimum" : "minimum");
      const json::value* high = document_.find(*clause.schema, exclusive ? "exclusiveMaximum" : "maximum");
      if (low) {
        low = document_.find_number(*clause.schema, exclusive ? "exclusiveMinimum" : "minimum");
        const NumberBound bound{to_decimal(*low), exclusive};
        const int order = range.low ? compare(bound.value, range.low->value) : 1;
        if (order > 0 || (order == 0 && exclusive)) range.low = bound;
      }
      if (high) {
        high = document_.find_number(*clause.schema, exclusive ? "exclusiveMaximum" : "maximum");
        const NumberBound bound{to_decimal(*high), exclusive};
        const int order = range.high ? compare(bound.value, range.high->value) : -1;
        if (order < 0 || (order == 0 && exclusive)) range.high = bound;
      }
    }
  }
  return range;
}

int SchemaAlternatives::least(const Alternative& alternative, std::string_view keyword) const {
  int result = 0;
  for (const Clause& clause : alternative.clauses)
    result = std::max(result, document_.find_count(*clause.schema, keyword).value_or(0));
  return result;
}

int SchemaAlternatives::greatest(const Alternative& alternative, std::string_view keyword) const {
  int result = SchemaDocument::kHuge;
  for (const Clause& clause : alternative.clauses)
    result = std::min(result, document_.find_count(*clause.schema, keyword).value_or(SchemaDocument::kHuge));
  return result;
}

std::vector<std::string_view> SchemaAlternatives::required(const Alternative& alternative) const {
  std::vector<std::string_view> names;
  for (const Clause& clause : alternative.clauses) {
    for (const std::string_view name : document_.find_names(*clause.schema, "required"))
      names.push_back(name);
  }
  return names;
}

namespace {

// Whether clause `descendant` was led to by `clause`, over however many others.
bool leads_to(const Alternative& alternative, int clause, int descendant) {
  while (descendant > clause) descendant = alternative.clauses[static_cast<size_t>(descendant)].parent;
  return descendant == clause;
}

// unevaluatedProperties and unevaluatedItems hold where neither their clause nor one it leads to has
// `covers`.
template <typename Covers>
void add_unevaluated(Conjunction& all, const SchemaDocument& document, const Alternative& alternative,
                     std::string_view keyword, Covers covers) {
  const auto count = static_cast<int>(alternative.clauses.size());
  for (int i = 0; i < count; ++i) {
    const json::value& schema = *alternative.clauses[static_cast<size_t>(i)].schema;
    const json::value* unevaluated = document.find(schema, keyword);
    if (!unevaluated) continue;
    bool covered = false;
    for (int j = i; j < count && !covered; ++j) {
      const json::value& other = *alternative.clauses[static_cast<size_t>(j)].schema;
      covered = leads_to(alternative, i, j) && (covers(other) || (j > i && document.find(other, keyword)));
    }
    if (!covered) add_to(all, *unevaluated);
  }
}

}  // namespace

// Adds what `schema` says of the member to `all`; whether it says anything.
bool SchemaAlternatives::apply_member(const json::value& schema, std::string_view name, Conjunction& all) {
  const json::string_view key(name.data(), name.size());
  bool covered = false;
  const json::object* properties = document_.find_object(schema, "properties");
  if (const json::value* property = properties ? properties->if_contains(key) : nullptr) {
    covered = true;
    add_to(all, *property);
  }
  if (const json::object* patterns = document_.find_object(schema, "patternProperties")) {
    for (const auto& [pattern, property] : *patterns) {
      if (!validator_.matches(schema, "patternProperties", view(pattern), name)) continue;
      covered = true;
      add_to(all, property);
    }
  }
  const json::value* additional = document_.find(schema, "additionalProperties");
  if (!covered && additional) add_to(all, *additional);
  return covered || additional;
}

Conjunction SchemaAlternatives::unevaluated_member(const Alternative& alternative, std::string_view name) {
  Conjunction all, unused;
  add_unevaluated(all, document_, alternative, "unevaluatedProperties",
                  [&](const json::value& schema) { return apply_member(schema, name, unused); });
  return all;
}

Conjunction SchemaAlternatives::member(const Alternative& alternative, std::string_view name) {
  Conjunction all;
  for (const Clause& clause : alternative.clauses) apply_member(*clause.schema, name, all);
  for (const json::value* schema : unevaluated_member(alternative, name)) add_to(all, *schema);
  return all;
}

Conjunction SchemaAlternatives::other_member(const Alternative& alternative, std::string_view pattern) const {
  const json::string_view key(pattern.data(), pattern.size());
  const auto apply = [&](const json::value& schema, Conjunction& all) {
    const json::object* patterns = document_.find_object(schema, "patternProperties");
    const json::value* property = patterns && !pattern.empty() ? patterns->if_contains(key) : nullptr;
    if (!property) property = document_.find(schema, "additionalProperties");
    if (property) add_to(all, *property);
    return property != nullptr;
  };
  Conjunction all, unused;
  for (const Clause& clause : alternative.clauses) apply(*clause.schema, all);
  add_unevaluated(all, document_, alternative, "unevaluatedProperties",
                  [&](const json::value& schema) { return apply(schema, unused); });
  return all;
}

size_t SchemaAlternatives::leading_length(const Alternative& alternative) const {
  size_t length = 0;
  for (const Clause& clause : alternative.clauses) {
    const json::array* leading = leading_items(document_, *clause.schema);
    length = std::max(length, leading ? leading->size() : 0);
    if (document_.find(*clause.schema, "contains"))
      length = std::max(length,
                        static_cast<size_t>(document_.find_count(*clause.schema, "minContains").value_or(1)));
  }
  return length;
}

const json::value* SchemaAlternatives::apply_item(const json::value& schema, size_t index) const {
  const json::array* leading = leading_items(document_, schema);
  return leading && index < leading->size() ? &(*leading)[index] : rest_items(document_, schema);
}

Conjunction SchemaAlternatives::unevaluated_item(const Alternative& alternative, size_t index) const {
  Conjunction all;
  add_unevaluated(all, document_, alternative, "unevaluatedItems",
                  [&](const json::value& schema) { return apply_item(schema, index) != nullptr; });
  return all;
}

Conjunction SchemaAlternatives::item(const Alternative& alternative, size_t index) const {
  Conjunction all;
  for (const Clause& clause : alternative.clauses) {
    const json::value& schema = *clause.schema;
    if (const json::value* item = apply_item(schema, index)) add_to(all, *item);
    // The first ones are those that "contains" asks for.
    const json::value* contained = document_.find(schema, "contains");
    if (contained && index < static_cast<size_t>(document_.find_count(schema, "minContains").value_or(1)))
      add_to(all, *contained);
  }
  for (const json::value* schema : unevaluated_item(alternative, index)) add_to(all, *schema);
  return all;
}

}  // namespace chorus
