#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "grammar/json_numbers.h"
#include "grammar/schema_document.h"
#include "grammar/schema_validate.h"

namespace chorus {

// The kinds of value a schema tells apart, as bits. A number that is whole is an integer.
enum JsonType : unsigned {
  kNull = 1,
  kBoolean = 2,
  kObject = 4,
  kArray = 8,
  kInteger = 16,
  kFraction = 32,  // a number that is no integer
  kString = 64,
  kAnyType = 127,
};

// Schemas that all hold for one value; none: any value. `true`, {} and repetitions are left out.
using Conjunction = std::vector<const json::value*>;
void add_to(Conjunction& all, const json::value& schema);

// A schema object whose own keywords hold for the value. What its $ref, allOf, anyOf and their like lead to
// are clauses of their own.
struct Clause {
  const json::value* schema;
  int parent;  // the clause that led here; -1: the conjunction
};

// One of the ways in which a value can satisfy a conjunction.
struct Alternative {
  std::vector<Clause> clauses;
  std::vector<const json::value*> excluded;  // only beside values(): the value satisfies none of these
};

// Takes conjunctions apart.
class SchemaAlternatives {
 public:
  SchemaAlternatives(SchemaDocument& document, SchemaValidator& validator, SchemaBudget& budget)
      : document_(document), validator_(validator), budget_(budget) {}

  // Every value of every alternative satisfies `all`. Error: a "oneOf", "not" or "if" that cannot be
  // guaranteed; a $ref that leads to itself; more than 1,024 alternatives.
  std::vector<Alternative> expand(const Conjunction& all);

  unsigned types(const Alternative& alternative) const;
  // All candidates where they are few: those of an enum or const, or null, true and false.
  std::optional<Conjunction> values(const Alternative& alternative) const;
  bool accepts(const Alternative& alternative, const json::value& value);
  NumberRange numbers(const Alternative& alternative) const;
  // Of minLength, maxLength and their like: the greatest least, the least greatest (kHuge: none).
  int least(const Alternative& alternative, std::string_view keyword) const;
  int greatest(const Alternative& alternative, std::string_view keyword) const;
  std::vector<std::string_view> required(const Alternative& alternative) const;
  // What holds for the member of this name, and for the item of this index.
  Conjunction member(const Alternative& alternative, std::string_view name);
  Conjunction item(const Alternative& alternative, size_t index) const;
  // What holds for members whose name is in nobody's properties and that patternProperties' `pattern` applies
  // to, or none where it is empty.
  Conjunction other_member(const Alternative& alternative, std::string_view pattern) const;
  size_t leading_length(const Alternative& alternative) const;

 private:
  struct Exclusion;
  struct Split;
  struct Partial;

  std::vector<Alternative> expand(Partial start, bool exact);
  bool enter(Partial& partial, bool exact);  // the next to do; false: no value can be
  void split(Partial partial, std::vector<Partial>& work, bool exact);
  void split_branches(const Partial& partial, const Split& at, std::vector<Partial>& work, bool only_one);
  void split_if(const Partial& partial, int clause, std::vector<Partial>& work);
  void split_dependents(Partial partial, Split split, std::vector<Partial>& work);
  bool settle(Partial& partial, std::vector<Partial>& work);  // false: `work` has what became of it
  bool apply_member(const json::value& schema, std::string_view name, Conjunction& all);
  const json::value* apply_item(const json::value& schema, size_t index) const;
  Conjunction unevaluated_member(const Alternative& alternative, std::string_view name);
  Conjunction unevaluated_item(const Alternative& alternative, size_t index) const;
  // Whether nothing that satisfies the clauses satisfies `schema`, for certain.
  bool excludes_all(const Partial& partial, const json::value& schema);
  bool surely_empty(const Alternative& alternative, int depth);
  bool surely_empty(const Conjunction& all, int depth);
  bool no_object(const Alternative& alternative, int depth);
  bool no_array(const Alternative& alternative, int depth);

  SchemaDocument& document_;
  SchemaValidator& validator_;
  SchemaBudget& budget_;
  std::map<const json::value*, Conjunction> negations_;
  std::map<std::pair<const json::value*, std::string>, const json::value*> dependents_;
};

// Schemas of which each excludes `schema`, together as much of its complement as can be said.
json::array schema_negations(const SchemaDocument& document, const json::value& schema);

}  // namespace chorus
