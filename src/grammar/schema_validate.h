#pragma once

#include <map>
#include <memory>
#include <string>

#include "formats/regex.h"
#include "grammar/schema_document.h"

namespace chorus {

bool same_json(const json::value& a, const json::value& b);  // as JSON Schema has it: 1 and 1.0 are the same

// Whether a value that the schema itself holds (of an enum, say) satisfies it. Formats are not looked at.
// Error: unevaluated*, $dynamicRef; a pattern PCRE2 does not take; over the budget.
class SchemaValidator {
 public:
  SchemaValidator(const SchemaDocument& document, SchemaBudget& budget)
      : document_(document), budget_(budget) {}

  bool accepts(const json::value& value, const json::value& schema) { return accepts(value, schema, 0); }
  // The keywords that stand in `schema` itself, without $ref, allOf, anyOf, oneOf, not, if and dependent*.
  bool accepts_here(const json::value& value, const json::value& schema) { return here(value, schema, 0); }
  bool matches(const json::value& schema, std::string_view keyword, std::string_view pattern,
               std::string_view text);

 private:
  bool accepts(const json::value& value, const json::value& schema, int depth);
  bool here(const json::value& value, const json::value& schema, int depth);
  bool combined(const json::value& value, const json::value& schema, int depth);
  bool number(const json::value& value, const json::value& schema);
  bool string(std::string_view text, const json::value& schema);
  bool array(const json::array& array, const json::value& schema, int depth);
  bool object(const json::object& object, const json::value& schema, int depth);
  bool members(const json::object& object, const json::value& schema, int depth);
  bool dependents(const json::value& value, const json::value& schema, int depth);
  bool holds_count(size_t count, const json::value& schema, std::string_view least,
                   std::string_view greatest);

  const SchemaDocument& document_;
  SchemaBudget& budget_;
  std::map<std::string, Regex, std::less<>> patterns_;
};

// The number of characters of valid UTF-8.
size_t count_characters(std::string_view text);

// The schema of items behind the leading ones; nullptr: any. And the leading ones' (both drafts' spellings).
const json::value* rest_items(const SchemaDocument& document, const json::value& schema);
const json::array* leading_items(const SchemaDocument& document, const json::value& schema);
// Bits of JsonType that "type" allows.
unsigned allowed_types(const SchemaDocument& document, const json::value& schema);
unsigned type_of(const json::value& value);

}  // namespace chorus
