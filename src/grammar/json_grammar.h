#pragma once

#include <string_view>
#include <vector>

#include "formats/json.h"
#include "grammar/grammar.h"

namespace chorus {

// The pieces that grammars of JSON texts are made of, all in one fixed writing:
//   - `gap` stands behind "{", "[" and "," and before "}" and "]": nothing, one space, or a line break and at
//     most kMaxIndent spaces; behind ":" there is nothing or one space; "{}" and "[]" hold nothing. So no
//     text can go on for ever between two values.
//   - Strings hold every character as it is, but for the quote, the backslash and control characters; values
//     that a schema leaves open may also hold any escape of RFC 8259, with surrogates in pairs only.
//   - Integers have at most 15 digits, so that they are exact where they are read as doubles; other numbers
//     at most 15 digits on each side of the point and exponents of two digits. "-0" is not written.
class JsonGrammar {
 public:
  static constexpr int kMaxIndent = 32;

  explicit JsonGrammar(Grammar& grammar) : g_(grammar) {}
  Grammar& grammar() { return g_; }

  ExprId gap();
  ExprId comma();  // with the gap behind it
  ExprId colon();  // with the space behind it
  // "{", gap, `members`, gap, "}"; also "{}" where `empty_too`.
  ExprId object(ExprId members, bool empty_too);
  ExprId array(ExprId elements, bool empty_too);

  // One character inside a string: any; or one of a set in its one writing (controls only where the set holds
  // nothing else).
  ExprId character();
  ExprId character(std::vector<CodepointRange> set);
  ExprId plain_character();  // as character({{0, 0x10FFFF}})
  ExprId quoted(ExprId content);

  ExprId integer();
  ExprId number();
  ExprId any_string();
  ExprId any_array();
  ExprId any_object();
  ExprId any_value();
  // This very value, with its gaps. Depth of `value` as parse_json's.
  ExprId exact(const json::value& value);
  ExprId exact_string(std::string_view text);

 private:
  RuleId rule(RuleId& memo, const char* name);  // adds it, to be defined, where it is not there yet

  Grammar& g_;
  RuleId gap_ = -1, character_ = -1, value_ = -1, object_ = -1, array_ = -1, string_ = -1, number_ = -1;
  ExprId plain_ = -1, comma_ = -1, colon_ = -1;
};

}  // namespace chorus
