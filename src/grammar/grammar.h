#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace chorus {

// Unicode code points first .. last, both included.
struct CodepointRange {
  uint32_t first = 0, last = 0;
};

using ExprId = int32_t;
using RuleId = int32_t;

// What a text may be: a context-free grammar over Unicode text in UTF-8. Everything that constrains an answer
// (a JSON schema, a regular expression, a list of choices, GBNF) becomes one of these, and only
// constraint.cc knows how it is matched against tokens.
//
// An expression is an index into one flat array and may be used in several places; nothing here recurses on
// the depth of what a client sent.
class Grammar {
 public:
  enum class Kind : uint8_t { kLiteral, kCharClass, kSequence, kChoice, kRepeat, kRule };
  struct Expr {
    Kind kind = Kind::kLiteral;
    std::string literal = {};                 // kLiteral: bytes, which may be none
    std::vector<CodepointRange> ranges = {};  // kCharClass: one code point of any of them; sorted, disjoint
    std::vector<ExprId> parts = {};  // kSequence, kChoice (none: matches nothing at all); kRepeat: one
    int min = 0, max = -1;           // kRepeat; max -1: unbounded
    RuleId rule = -1;                // kRule
  };

  ExprId literal(std::string_view bytes);
  // Ranges in any order; surrogates are left out. `negated`: any code point outside them.
  ExprId char_class(std::vector<CodepointRange> ranges, bool negated = false);
  ExprId sequence(std::vector<ExprId> parts);
  ExprId choice(std::vector<ExprId> parts);
  ExprId repeat(ExprId part, int min, int max);
  ExprId optional(ExprId part) { return repeat(part, 0, 1); }
  ExprId reference(RuleId rule);

  RuleId add_rule(std::string name);  // to be defined; rules may refer to each other in any order
  void define(RuleId rule, ExprId body);
  void set_root(ExprId root) { root_ = root; }

  const Expr& expr(ExprId id) const { return exprs_[static_cast<size_t>(id)]; }
  ExprId body(RuleId rule) const { return rules_[static_cast<size_t>(rule)].body; }  // -1: not defined
  const std::string& name(RuleId rule) const { return rules_[static_cast<size_t>(rule)].name; }
  ExprId root() const { return root_; }
  size_t exprs() const { return exprs_.size(); }
  size_t rules() const { return rules_.size(); }

 private:
  struct Rule {
    std::string name;
    ExprId body = -1;
  };
  ExprId add(Expr expr);

  std::vector<Expr> exprs_;
  std::vector<Rule> rules_;
  ExprId root_ = -1;
};

}  // namespace chorus
