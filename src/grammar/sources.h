#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json.h"
#include "grammar/grammar.h"

namespace chorus {

// What clients write -> a Grammar. All throw Error: one line that names the place (line and column, or the
// keyword and its JSON pointer) and what would be right. Depth of nesting is at most 64, rules at most
// 10,000.

// GBNF as llama.cpp has it, and the EBNF of vLLM's `structured_outputs.grammar` (Lark-like `::=` rules): the
// start is the rule "root".
Grammar parse_gbnf(std::string_view text);

// A regular expression (the syntax of ECMA 262 without look-around and back-references) that the whole answer
// must match.
Grammar parse_regex(std::string_view pattern);

// Adds the expression to `grammar`. `character` makes the expression for a set of code points: a JSON string
// writes some of them as escapes. `search`: the pattern may match anywhere in the text, as JSON Schema's
// "pattern" does, where it is not anchored by ^ and $.
using CharacterExpr = std::function<ExprId(Grammar& grammar, std::vector<CodepointRange> set)>;
ExprId add_regex(Grammar& grammar, std::string_view pattern, const CharacterExpr& character, bool search,
                 const CharacterExpr& any_character);

// One of these texts.
Grammar choice_grammar(const std::vector<std::string>& choices);

// JSON Schema (2020-12 and draft 7) -> all JSON texts of one fixed writing (see schema.cc) that it accepts,
// or Error that names the first keyword that cannot be guaranteed. `true` and {} accept any JSON value.
Grammar schema_grammar(const json::value& schema);
// Adds it to a grammar, for what stands around it (a tool call).
ExprId add_schema(Grammar& grammar, const json::value& schema);

// Any JSON object.
Grammar json_object_grammar();

}  // namespace chorus
