// JSON Schema -> Grammar. What is written is one fixed writing (json_grammar.h); what is guaranteed is that
// every text satisfies the schema, not that every value the schema allows can be written:
//   - Members come in the order of "properties", then of "required". Others are written only where
//     additionalProperties or unevaluatedProperties says so, or where nothing is named at all. Their keys are
//     none of those named; two of them may be the same (a reader takes one of them, and either fits).
//   - Behind prefixItems, items are written only where "items" says what they are. What "contains" asks for
//     are the first items; uniqueItems needs items of an enum, and they keep its order.
//   - "format" shapes a string where it is one of format_pattern's and nothing else does; otherwise it is the
//     annotation it is by default. Annotations and unknown keywords mean nothing, in either draft.
//   - A "not", "oneOf", "if" or dependent* holds by leaving out what could break it: an Error where nothing
//     is known to be safe.
// A conjunction of schemas (a $ref, an allOf, a property that several schemas describe) is a rule, made once;
// rules wait in a list, so nothing recurses on the depth of references.
#include <algorithm>
#include <map>
#include <unordered_set>
#include <utility>

#include "grammar/grammar_prune.h"
#include "grammar/json_grammar.h"
#include "grammar/schema_alternatives.h"
#include "grammar/schema_lists.h"
#include "grammar/schema_strings.h"
#include "grammar/sources.h"

namespace chorus {
namespace {

constexpr size_t kMaxValues = 10'000;
constexpr size_t kMaxRules = 10'000, kMaxExprs = 1'000'000;
constexpr int kMaxLeast = 100'000;  // of characters, items or members that have to be there
constexpr int kMaxMultiples = 1000;

class SchemaCompiler {
 public:
  explicit SchemaCompiler(const json::value& schema)
      : document_(schema),
        validator_(document_, budget_),
        schemas_(document_, validator_, budget_),
        text_(grammar_) {}

  ExprId run(Grammar& target) {
    Conjunction all;
    add_to(all, document_.root());
    const ExprId root = value_of(all);
    while (!waiting_.empty()) {
      const auto [rule, conjunction] = std::move(waiting_.back());
      waiting_.pop_back();
      grammar_.define(rule, conjunction_expr(conjunction));
      if (grammar_.rules() > kMaxRules || grammar_.exprs() > kMaxExprs)
        fail("json_schema: needs more than {} rules", kMaxRules);
    }
    const std::optional<ExprId> made = copy_productive(grammar_, root, target);
    if (made) return *made;
    if (looped_) document_.refuse(*looped_, "$ref", "every value would hold itself; give it a base case");
    fail("json_schema: no value satisfies it");
  }

 private:
  ExprId value_of(const Conjunction& all) {
    if (all.empty()) return text_.any_value();
    const auto [entry, added] = rules_.try_emplace(all, -1);
    if (added) {
      entry->second = grammar_.add_rule(fmt::format("schema-{}", rules_.size()));
      waiting_.emplace_back(entry->second, all);
    } else if (all.size() == 1) {
      looped_ = all[0];
    }
    return grammar_.reference(entry->second);
  }

  ExprId conjunction_expr(const Conjunction& all) {
    std::vector<ExprId> choices;
    for (const Alternative& alternative : schemas_.expand(all)) add_alternative(alternative, choices);
    return grammar_.choice(std::move(choices));
  }

  void add_alternative(const Alternative& alternative, std::vector<ExprId>& choices) {
    if (const std::optional<Conjunction> values = schemas_.values(alternative)) {
      if (values->size() > kMaxValues)
        document_.refuse(*alternative.clauses[0].schema, "enum",
                         fmt::format("more than {} values", kMaxValues));
      for (const json::value* value : *values) {
        if (schemas_.accepts(alternative, *value)) choices.push_back(text_.exact(*value));
      }
      return;
    }
    const unsigned types = schemas_.types(alternative);
    if (types & kNull) choices.push_back(grammar_.literal("null"));
    if (types & kBoolean)
      choices.insert(choices.end(), {grammar_.literal("true"), grammar_.literal("false")});
    if (types & (kInteger | kFraction)) choices.push_back(number(alternative, types & kFraction));
    if (types & kString) {
      check_least(alternative, "minLength");
      choices.push_back(text_.quoted(string_content(text_, document_, schemas_, alternative, false)));
    }
    if (types & kArray) choices.push_back(array(alternative));
    if (types & kObject) choices.push_back(object(alternative));
  }

  // The clause that has this keyword; nullptr: none.
  const json::value* clause_with(const Alternative& alternative, std::string_view keyword) const {
    for (const Clause& clause : alternative.clauses) {
      if (document_.find(*clause.schema, keyword)) return clause.schema;
    }
    return nullptr;
  }

  void check_least(const Alternative& alternative, std::string_view keyword) const {
    if (schemas_.least(alternative, keyword) > kMaxLeast)
      document_.refuse(*clause_with(alternative, keyword), keyword, fmt::format("above {}", kMaxLeast));
  }

  ExprId number(const Alternative& alternative, bool fractions) {
    const NumberRange range = schemas_.numbers(alternative);
    for (const Clause& clause : alternative.clauses) {
      const json::value* divisor = document_.find_number(*clause.schema, "multipleOf");
      if (!divisor) continue;
      const double by = divisor->to_number<double>();
      if (!(by >= 1) || by > 1e9 || by != static_cast<double>(static_cast<int64_t>(by)))
        document_.refuse(*clause.schema, "multipleOf", "is supported for whole numbers from 1 to 10^9");
      if (by == 1) {
        fractions = false;
      } else {
        return multiple(alternative, *clause.schema, static_cast<int64_t>(by), range);
      }
    }
    if (fractions) return range.low || range.high ? decimal_range(grammar_, range) : text_.number();
    return whole(alternative, range);
  }

  ExprId whole(const Alternative& alternative, const NumberRange& range) {
    const std::optional<IntegerRange> integers = integers_within(range);
    if (!integers) {
      const json::value* schema = clause_with(alternative, range.low ? "minimum" : "maximum");
      document_.refuse(schema ? *schema : document_.root(), range.low ? "minimum" : "maximum",
                       "integers beyond 10^18 are not supported");
    }
    return range.low || range.high ? integer_range(grammar_, *integers) : text_.integer();
  }

  ExprId multiple(const Alternative& alternative, const json::value& schema, int64_t by,
                  const NumberRange& range) {
    for (const Clause& clause : alternative.clauses) {
      const json::value* other = document_.find_number(*clause.schema, "multipleOf");
      if (other && other->to_number<double>() != static_cast<double>(by) && other->to_number<double>() != 1)
        document_.refuse(*clause.schema, "multipleOf", "together with another is not supported");
    }
    const std::optional<IntegerRange> integers = integers_within(range);
    if (integers && integers->low && integers->high) {
      const auto floor = [by](int64_t value) { return value >= 0 ? value / by : -((-value + by - 1) / by); };
      const int64_t first = floor(*integers->low + by - 1), last = floor(*integers->high);
      if (last - first < kMaxMultiples) {
        std::vector<ExprId> choices;
        for (int64_t i = first; i <= last; ++i)
          choices.push_back(grammar_.literal(fmt::format("{}", i * by)));
        return grammar_.choice(std::move(choices));
      }
    }
    const bool simple =
        integers && !integers->high && (!integers->low || *integers->low == 0 || *integers->low == 1);
    if (!simple || by > kMaxMultiples) {
      document_.refuse(schema, "multipleOf",
                       "is supported up to 1,000 without bounds or from 0 on, or between bounds that hold at "
                       "most 1,000 multiples");
    }
    return multiples(grammar_, static_cast<int>(by), integers->low);
  }

  ExprId array(const Alternative& alternative) {
    check_least(alternative, "minItems");
    for (const Clause& clause : alternative.clauses) {
      if (!document_.find(*clause.schema, "contains")) continue;
      if (document_.find(*clause.schema, "maxContains"))
        document_.refuse(*clause.schema, "maxContains", "cannot be guaranteed");
      if (document_.find_count(*clause.schema, "minContains").value_or(1) > kMaxLeast / 100)
        document_.refuse(*clause.schema, "minContains", fmt::format("above {}", kMaxLeast / 100));
    }
    int least = schemas_.least(alternative, "minItems");
    int greatest = schemas_.greatest(alternative, "maxItems");
    for (const Clause& clause : alternative.clauses) {
      if (document_.find(*clause.schema, "contains"))
        least = std::max(least, document_.find_count(*clause.schema, "minContains").value_or(1));
    }
    bool unique = false;
    for (const Clause& clause : alternative.clauses)
      unique |= document_.is_true(*clause.schema, "uniqueItems");
    if (unique && greatest > 1) return unique_array(alternative, least, greatest);

    const auto leading = schemas_.leading_length(alternative);
    const Conjunction rest = schemas_.item(alternative, leading);
    const bool open = !rest.empty() || std::ranges::none_of(alternative.clauses, [&](const Clause& clause) {
      return leading_items(document_, *clause.schema) && !rest_items(document_, *clause.schema);
    });
    if (!open) greatest = std::min(greatest, std::max(static_cast<int>(leading), least));
    if (least > greatest) return grammar_.choice({});
    if (greatest == 0) return grammar_.literal("[]");
    return text_.array(elements(alternative, leading, rest, least, greatest), least == 0);
  }

  // One element or more.
  ExprId elements(const Alternative& alternative, size_t leading, const Conjunction& rest, int least,
                  int greatest) {
    const auto first_rest = static_cast<int>(std::max<size_t>(leading, 1));
    const int most = greatest == SchemaDocument::kHuge ? -1 : greatest - first_rest;
    ExprId tail = grammar_.literal("");
    if (most != 0 && greatest > first_rest)
      tail = grammar_.repeat(grammar_.sequence({text_.comma(), value_of(rest)}),
                             std::max(0, least - first_rest), most);
    for (int i = std::min(first_rest, greatest) - 1; i > 0; --i) {
      const ExprId item = value_of(schemas_.item(alternative, static_cast<size_t>(i)));
      tail = grammar_.sequence({text_.comma(), item, tail});
      if (i >= least) tail = grammar_.optional(tail);
    }
    return grammar_.sequence({value_of(schemas_.item(alternative, 0)), tail});
  }

  ExprId unique_array(const Alternative& alternative, int least, int greatest) {
    const json::value& schema = *clause_with(alternative, "uniqueItems");
    Conjunction candidates;
    bool finite = schemas_.leading_length(alternative) == 0;
    for (const Alternative& item : schemas_.expand(schemas_.item(alternative, 0))) {
      const std::optional<Conjunction> values = schemas_.values(item);
      finite = finite && values;
      if (!finite) break;
      for (const json::value* value : *values) {
        budget_.spend(1 + candidates.size());
        const bool is_new = std::ranges::none_of(
            candidates, [&](const json::value* other) { return same_json(*other, *value); });
        if (is_new && schemas_.accepts(item, *value)) candidates.push_back(value);
      }
    }
    if (!finite) document_.refuse(schema, "uniqueItems", "is supported for items of an enum only");
    std::vector<ListElement> elements;
    for (const json::value* value : candidates) elements.push_back({text_.exact(*value), false});
    const std::optional<ExprId> list = list_of(text_, elements, std::nullopt, least,
                                               greatest == SchemaDocument::kHuge ? -1 : greatest, false);
    if (!list) document_.refuse(schema, "uniqueItems", "more than 10,000 combinations of place and count");
    return text_.array(*list, least == 0);
  }

  // The strings that all propertyNames allow, where they are listed.
  std::optional<std::vector<std::string_view>> listed_names(const Conjunction& names) {
    std::vector<std::string_view> listed;
    for (const Alternative& name : schemas_.expand(names)) {
      const std::optional<Conjunction> values = schemas_.values(name);
      if (!values && (schemas_.types(name) & kString)) return std::nullopt;
      for (const json::value* value : values.value_or(Conjunction{})) {
        if (value->is_string() && schemas_.accepts(name, *value)) listed.push_back(view(value->get_string()));
      }
    }
    return listed;
  }

  ExprId object(const Alternative& alternative);
  std::optional<ExprId> other_members(const Alternative& alternative, const Conjunction& name_schemas,
                                      const std::vector<std::string_view>& names);
  std::optional<ExprId> pattern_members(const Alternative& alternative,
                                        const std::vector<std::string_view>& names, bool restricted);
  ExprId member(ExprId key, const Conjunction& value) {
    return grammar_.sequence({key, text_.colon(), value_of(value)});
  }

  SchemaBudget budget_;
  SchemaDocument document_;
  SchemaValidator validator_;
  SchemaAlternatives schemas_;
  Grammar grammar_;
  JsonGrammar text_;
  std::map<Conjunction, RuleId> rules_;
  std::vector<std::pair<RuleId, Conjunction>> waiting_;
  const json::value* looped_ = nullptr;
};

// The characters that every name a pattern matches begins with: those after ^ up to the first sign.
std::string pattern_prefix(std::string_view pattern) {
  if (!pattern.starts_with('^') || pattern.find('|') != pattern.npos) return "";
  pattern.remove_prefix(1);
  std::string prefix(pattern.substr(0, pattern.find_first_of("\\^$.*+?()[]{}|")));
  if (prefix.size() < pattern.size() &&
      std::string_view("*?{").find(pattern[prefix.size()]) != std::string_view::npos) {
    while (!prefix.empty() && (prefix.back() & 0xC0) == 0x80) prefix.pop_back();
    if (!prefix.empty()) prefix.pop_back();
  }
  return prefix;
}

ExprId SchemaCompiler::object(const Alternative& alternative) {
  check_least(alternative, "minProperties");
  std::vector<std::string_view> names;
  std::unordered_set<std::string_view> known;
  Conjunction name_schemas;
  const auto name = [&](std::string_view text) {
    if (known.insert(text).second) names.push_back(text);
  };
  bool named = false;
  for (const Clause& clause : alternative.clauses) {
    if (const json::object* properties = document_.find_object(*clause.schema, "properties")) {
      named |= !properties->empty();
      for (const auto& property : *properties) name(view(property.key()));
    }
    if (const json::value* schema = document_.find(*clause.schema, "propertyNames"))
      add_to(name_schemas, *schema);
  }
  const std::vector<std::string_view> required_names = schemas_.required(alternative);
  const std::unordered_set<std::string_view> required(required_names.begin(), required_names.end());
  for (const std::string_view text : required_names) name(text);
  std::optional<std::vector<std::string_view>> listed;
  if (!name_schemas.empty()) listed = listed_names(name_schemas);

  std::optional<ExprId> more = pattern_members(alternative, names, !name_schemas.empty());
  const bool says =
      clause_with(alternative, "additionalProperties") || clause_with(alternative, "unevaluatedProperties");
  const int least = schemas_.least(alternative, "minProperties");
  const bool open = says || static_cast<size_t>(least) > names.size() ||
                    (!named && !clause_with(alternative, "patternProperties"));
  if (open && listed) {
    for (const std::string_view text : *listed) name(text);
  } else if (open && !more && !clause_with(alternative, "patternProperties")) {
    more = other_members(alternative, name_schemas, names);
  }

  std::vector<ListElement> elements;
  for (const std::string_view text : names) {
    budget_.spend(10);
    const json::value as_value(json::string_view(text.data(), text.size()));
    const bool allowed = std::ranges::all_of(
        name_schemas, [&](const json::value* schema) { return validator_.accepts(as_value, *schema); });
    const bool is_required = required.contains(text);
    if (!allowed && is_required) return grammar_.choice({});
    if (allowed)
      elements.push_back({member(text_.exact_string(text), schemas_.member(alternative, text)), is_required});
  }
  if (static_cast<size_t>(least) > elements.size() + (more ? 1 : 0)) {
    document_.refuse(*clause_with(alternative, "minProperties"), "minProperties",
                     "asks for more members than are named; that their names differ cannot be guaranteed");
  }
  const int greatest = schemas_.greatest(alternative, "maxProperties");
  const std::optional<ExprId> list =
      list_of(text_, elements, more, least, greatest == SchemaDocument::kHuge ? -1 : greatest, true);
  if (!list) {
    const json::value* with = clause_with(alternative, "minProperties");
    const json::value* limit = with ? with : clause_with(alternative, "maxProperties");
    document_.refuse(limit ? *limit : document_.root(),
                     with    ? "minProperties"
                     : limit ? "maxProperties"
                             : "properties",
                     "more than 10,000 combinations of place and count");
  }
  return text_.object(*list, least == 0 && required.empty());
}

std::optional<ExprId> SchemaCompiler::other_members(const Alternative& alternative,
                                                    const Conjunction& name_schemas,
                                                    const std::vector<std::string_view>& names) {
  const Conjunction value = schemas_.other_member(alternative, "");
  if (std::ranges::any_of(value, [](const json::value* schema) { return schema->is_bool(); }))
    return std::nullopt;
  if (name_schemas.empty()) {
    if (names.empty()) return member(text_.any_string(), value);
    return member(string_but(text_, {names.begin(), names.end()}), value);
  }
  if (!names.empty()) return std::nullopt;
  std::vector<ExprId> keys;
  for (const Alternative& name : schemas_.expand(name_schemas)) {
    if (schemas_.values(name)) {
      const std::optional<Conjunction> values = schemas_.values(name);
      for (const json::value* text : *values) {
        if (text->is_string() && schemas_.accepts(name, *text)) keys.push_back(text_.exact(*text));
      }
    } else if (schemas_.types(name) & kString) {
      keys.push_back(text_.quoted(string_content(text_, document_, schemas_, name, true)));
    }
  }
  return member(grammar_.choice(std::move(keys)), value);
}

std::optional<ExprId> SchemaCompiler::pattern_members(const Alternative& alternative,
                                                      const std::vector<std::string_view>& names,
                                                      bool restricted) {
  std::map<std::string_view, const json::value*> patterns;
  for (const Clause& clause : alternative.clauses) {
    const json::object* object = document_.find_object(*clause.schema, "patternProperties");
    if (!object) continue;
    for (const auto& [pattern, schema] : *object) {
      if (!schema.is_bool() || schema.get_bool()) patterns.emplace(view(pattern), clause.schema);
    }
    if (restricted && !object->empty())
      document_.refuse(*clause.schema, "patternProperties", "together with propertyNames is not supported");
    // A pattern that forbids names is met by writing none but those of other patterns.
    if (!patterns.empty() && patterns.size() < object->size())
      document_.refuse(*clause.schema, "patternProperties",
                       "one pattern that allows and one that forbids names");
  }
  std::vector<ExprId> members;
  std::string previous;
  for (const auto& [pattern, schema] : patterns) {
    const std::string prefix = pattern_prefix(pattern);
    if (patterns.size() > 1) {
      for (const auto& [other, unused] : patterns) {
        const std::string other_prefix = pattern_prefix(other);
        if (other != pattern && (prefix.starts_with(other_prefix) || other_prefix.starts_with(prefix))) {
          document_.refuse(
              *schema, "patternProperties",
              "several patterns that one name may match; begin each with ^ and other characters");
        }
      }
    }
    const bool meets_names = std::ranges::any_of(names, [&](std::string_view name) {
      return validator_.matches(*schema, "patternProperties", pattern, name);
    });
    if (meets_names) continue;  // such a name could come twice: it is written as the named one only
    const ExprId key =
        text_.quoted(matching_content(text_, document_, *schema, "patternProperties", pattern));
    members.push_back(member(key, schemas_.other_member(alternative, pattern)));
  }
  if (members.empty()) return std::nullopt;
  return grammar_.choice(std::move(members));
}

}  // namespace

ExprId add_schema(Grammar& grammar, const json::value& schema) { return SchemaCompiler(schema).run(grammar); }

Grammar schema_grammar(const json::value& schema) {
  Grammar grammar;
  grammar.set_root(add_schema(grammar, schema));
  return grammar;
}

}  // namespace chorus
