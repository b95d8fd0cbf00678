#include "grammar/schema_alternatives.h"

#include <algorithm>
#include <utility>

namespace chorus {
namespace {

constexpr size_t kMaxAlternatives = 1024;
constexpr int kMaxChain = 64;  // schemas that lead to schemas for the same value
constexpr int kMaxProof = 6;   // levels of members and items that a proof of emptiness goes down

bool is_open(const json::value& schema) {
  return schema.is_object() ? schema.get_object().empty() : schema.is_bool() && schema.get_bool();
}

}  // namespace

void add_to(Conjunction& all, const json::value& schema) {
  if (!is_open(schema) && std::ranges::find(all, &schema) == all.end()) all.push_back(&schema);
}

struct SchemaAlternatives::Exclusion {
  const json::value* schema;
  int clause;
  std::string_view keyword;
};

struct SchemaAlternatives::Split {
  int clause;
  std::string_view keyword;
  size_t index = 0;  // of dependents: the members done
};

struct SchemaAlternatives::Partial {
  std::vector<Clause> clauses;
  std::vector<Clause> todo;  // the last first
  std::vector<Split> splits;
  std::vector<Exclusion> exclusions;

  Partial with(const json::value& schema, int parent) const {
    Partial copy = *this;
    copy.todo.push_back({&schema, parent});
    return copy;
  }
};

std::vector<Alternative> SchemaAlternatives::expand(const Conjunction& all) {
  Partial start;
  for (auto schema = all.rbegin(); schema != all.rend(); ++schema) start.todo.push_back({*schema, -1});
  return expand(std::move(start), true);
}

std::vector<Alternative> SchemaAlternatives::expand(Partial start, bool exact) {
  std::vector<Alternative> result;
  std::vector<Partial> work;
  work.push_back(std::move(start));
  while (!work.empty()) {
    Partial partial = std::move(work.back());
    work.pop_back();
    budget_.spend(1 + partial.clauses.size());
    bool possible = true;
    while (possible && !partial.todo.empty()) possible = enter(partial, exact);
    if (!possible) continue;
    if (!partial.splits.empty()) {
      const Split at = partial.splits.back();
      const json::value& schema = *partial.clauses[static_cast<size_t>(at.clause)].schema;
      split(std::move(partial), work, exact);
      if (work.size() + result.size() > kMaxAlternatives)
        document_.refuse(schema, at.keyword, fmt::format("more than {} combinations", kMaxAlternatives));
      continue;
    }
    if (exact && !settle(partial, work)) continue;
    Alternative done{std::move(partial.clauses), {}};
    for (const Exclusion& exclusion : partial.exclusions) done.excluded.push_back(exclusion.schema);
    result.push_back(std::move(done));
  }
  return result;
}

bool SchemaAlternatives::enter(Partial& partial, bool exact) {
  const Clause next = partial.todo.back();
  partial.todo.pop_back();
  const json::value* at = next.schema;
  const json::value& schema = *at;
  budget_.spend(1 + partial.clauses.size());
  if (schema.is_bool()) return schema.get_bool();
  if (!schema.is_object()) document_.refuse(schema, "schema", "must be an object, true or false");
  int length = 0;
  for (int i = next.parent; i >= 0; i = partial.clauses[static_cast<size_t>(i)].parent) {
    if (partial.clauses[static_cast<size_t>(i)].schema == at)
      document_.refuse(schema, "$ref", "leads back to this schema with nothing between, so no value ends it");
    if (++length > kMaxChain) document_.refuse(schema, "$ref", "leads on to more than 64 schemas");
  }
  if (std::ranges::any_of(partial.clauses, [&](const Clause& clause) { return clause.schema == at; }))
    return true;
  for (const std::string_view keyword : {"$dynamicRef", "$recursiveRef"}) {
    if (document_.find(schema, keyword)) document_.refuse(schema, keyword, "is not supported; $ref is");
  }
  const std::optional<std::string_view> id = document_.find_string(schema, "$id");
  if (id && at != &document_.root() && !id->starts_with('#'))
    document_.refuse(schema, "$id", "is supported at the root only");
  const auto clause = static_cast<int>(partial.clauses.size());
  partial.clauses.push_back(next);
  if (const json::array* all = document_.find_array(schema, "allOf")) {
    for (auto part = all->rbegin(); part != all->rend(); ++part) partial.todo.push_back({&*part, clause});
  }
  if (document_.find(schema, "$ref")) partial.todo.push_back({&document_.target(schema), clause});
  for (const std::string_view keyword : {"anyOf", "oneOf"}) {
    if (document_.find_array(schema, keyword)) partial.splits.push_back({clause, keyword});
  }
  if (!exact) return true;
  for (const std::string_view keyword : {"dependentRequired", "dependentSchemas", "dependencies"}) {
    if (document_.find_object(schema, keyword)) partial.splits.push_back({clause, keyword});
  }
  if (document_.find(schema, "if") && (document_.find(schema, "then") || document_.find(schema, "else")))
    partial.splits.push_back({clause, "if"});
  if (const json::value* negated = document_.find(schema, "not"))
    partial.exclusions.push_back({negated, clause, "not"});
  return true;
}

void SchemaAlternatives::split(Partial partial, std::vector<Partial>& work, bool exact) {
  const Split at = partial.splits.back();
  partial.splits.pop_back();
  if (at.keyword == "anyOf" || at.keyword == "oneOf") {
    split_branches(partial, at, work, exact && at.keyword == "oneOf");
  } else if (at.keyword == "if") {
    split_if(partial, at.clause, work);
  } else {
    split_dependents(std::move(partial), at, work);
  }
}

void SchemaAlternatives::split_branches(const Partial& partial, const Split& at, std::vector<Partial>& work,
                                        bool only_one) {
  const auto [clause, keyword, index] = at;
  const json::value& schema = *partial.clauses[static_cast<size_t>(clause)].schema;
  const json::array& branches = *document_.find_array(schema, keyword);
  if (branches.size() + work.size() > kMaxAlternatives)
    document_.refuse(schema, keyword, fmt::format("more than {} combinations", kMaxAlternatives));
  for (auto branch = branches.rbegin(); branch != branches.rend(); ++branch) {
    budget_.spend(partial.clauses.size() + branches.size());
    Partial copy = partial.with(*branch, clause);
    for (const json::value& other : branches) {
      if (only_one && &other != &*branch) copy.exclusions.push_back({&other, clause, keyword});
    }
    work.push_back(std::move(copy));
  }
}

void SchemaAlternatives::split_if(const Partial& partial, int clause, std::vector<Partial>& work) {
  const json::value& schema = *partial.clauses[static_cast<size_t>(clause)].schema;
  const json::value& condition = *document_.find(schema, "if");
  const json::value* then = document_.find(schema, "then");
  const json::value* otherwise = document_.find(schema, "else");
  Partial without = otherwise ? partial.with(*otherwise, clause) : partial;
  without.exclusions.push_back({&condition, clause, "if"});
  work.push_back(std::move(without));
  Partial with = then ? partial.with(*then, clause) : partial;
  with.todo.push_back({&condition, clause});
  work.push_back(std::move(with));
}

// Either the member is not there, or it is, with all that depends on it.
void SchemaAlternatives::split_dependents(Partial partial, Split at, std::vector<Partial>& work) {
  const json::value& schema = *partial.clauses[static_cast<size_t>(at.clause)].schema;
  const json::object& dependents = *document_.find_object(schema, at.keyword);
  if (at.index >= dependents.size()) return work.push_back(std::move(partial));
  const json::key_value_pair& dependent = *(dependents.begin() + static_cast<std::ptrdiff_t>(at.index));
  const json::string_view key = dependent.key();
  const json::value& needs = dependent.value();
  ++at.index;
  partial.splits.push_back(at);
  const auto derived = [&](const char* use, json::value made) -> const json::value& {
    const auto [entry, added] = dependents_.try_emplace({&needs, use}, nullptr);
    if (added) entry->second = &document_.keep(std::move(made), schema);
    return *entry->second;
  };
  json::array names{key};
  if (needs.is_array()) names.insert(names.end(), needs.get_array().begin(), needs.get_array().end());
  work.push_back(
      partial.with(derived("absent", json::object{{"properties", json::object{{key, false}}}}), at.clause));
  Partial there = partial.with(
      derived("there", json::object{{"type", "object"}, {"required", std::move(names)}}), at.clause);
  if (!needs.is_array()) there.todo.push_back({&needs, at.clause});
  work.push_back(std::move(there));
}

bool SchemaAlternatives::excludes_all(const Partial& partial, const json::value& schema) {
  Partial both{partial.clauses, {}, {}, {}};
  both.todo.push_back({&schema, -1});
  return std::ranges::all_of(expand(std::move(both), false),
                             [&](const Alternative& overlap) { return surely_empty(overlap, 0); });
}

bool SchemaAlternatives::settle(Partial& partial, std::vector<Partial>& work) {
  const Alternative alternative{partial.clauses, {}};
  if (surely_empty(alternative, 0)) return false;
  if (values(alternative)) return true;  // each is tried
  while (!partial.exclusions.empty()) {
    const Exclusion excluded = partial.exclusions.back();
    partial.exclusions.pop_back();
    if (is_open(*excluded.schema)) return false;
    if (excludes_all(partial, *excluded.schema)) continue;
    const auto [entry, added] = negations_.try_emplace(excluded.schema);
    if (added) {
      for (json::value& negation : schema_negations(document_, *excluded.schema))
        entry->second.push_back(&document_.keep(std::move(negation), *excluded.schema));
    }
    const size_t before = work.size();
    for (auto negation = entry->second.rbegin(); negation != entry->second.rend(); ++negation) {
      if (!excludes_all(partial, **negation)) work.push_back(partial.with(**negation, excluded.clause));
    }
    if (work.size() == before) {
      document_.refuse(*partial.clauses[static_cast<size_t>(excluded.clause)].schema, excluded.keyword,
                       "cannot be guaranteed: nothing tells the values apart for certain");
    }
    return false;
  }
  return true;
}

bool SchemaAlternatives::surely_empty(const Conjunction& all, int depth) {
  if (depth >= kMaxProof) return false;
  Partial start;
  for (auto schema = all.rbegin(); schema != all.rend(); ++schema) start.todo.push_back({*schema, -1});
  const std::vector<Alternative> alternatives = expand(std::move(start), false);
  return std::ranges::all_of(
      alternatives, [&](const Alternative& alternative) { return surely_empty(alternative, depth); });
}

bool SchemaAlternatives::surely_empty(const Alternative& alternative, int depth) {
  budget_.spend(1 + alternative.clauses.size());
  if (const std::optional<Conjunction> candidates = values(alternative)) {
    return std::ranges::none_of(*candidates,
                                [&](const json::value* value) { return accepts(alternative, *value); });
  }
  const unsigned types = this->types(alternative);
  if (types & (kNull | kBoolean)) return false;
  if (types & (kInteger | kFraction)) {
    const NumberRange range = numbers(alternative);
    if (types & kFraction && !is_empty(range)) return false;
    const std::optional<IntegerRange> whole = integers_within(range);
    if (!whole || !whole->low || !whole->high || *whole->low <= *whole->high) return false;
  }
  if (types & kString && least(alternative, "minLength") <= greatest(alternative, "maxLength")) return false;
  if (types & kObject && !no_object(alternative, depth)) return false;
  return !(types & kArray) || no_array(alternative, depth);
}

bool SchemaAlternatives::no_object(const Alternative& alternative, int depth) {
  const int most = greatest(alternative, "maxProperties");
  if (least(alternative, "minProperties") > most) return true;
  std::vector<std::string_view> names = required(alternative);
  std::ranges::sort(names);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  if (names.size() > static_cast<size_t>(most)) return true;
  return std::ranges::any_of(
      names, [&](std::string_view name) { return surely_empty(member(alternative, name), depth + 1); });
}

bool SchemaAlternatives::no_array(const Alternative& alternative, int depth) {
  constexpr int kItems = 8;  // looked at
  const int items = least(alternative, "minItems");
  if (items > greatest(alternative, "maxItems")) return true;
  for (int i = 0; i < std::min(items, kItems); ++i) {
    Conjunction all;
    for (const Clause& clause : alternative.clauses) {
      const json::value* item = apply_item(*clause.schema, static_cast<size_t>(i));
      if (item) add_to(all, *item);
    }
    if (surely_empty(all, depth + 1)) return true;
  }
  return false;
}

}  // namespace chorus
