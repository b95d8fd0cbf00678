#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "formats/jinja_value.h"

// The syntax tree of a template. Chains (a + b + c, x.y|f|g, if/elif) are vectors, not nests, so that the
// depth of the tree is the nesting that the template's author wrote, and that is bounded by the parser.
namespace chorus::jinja {

enum class BinaryOp : uint8_t { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
enum class CompareOp : uint8_t { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };
enum class UnaryOp : uint8_t { kNot, kNegate, kPositive };

struct Filter;  // jinja_filters.h
struct Test;    // jinja_tests.h
struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct CallArgument {
  enum class Kind : uint8_t { kPositional, kNamed, kList, kDict } kind;  // x, name=x, *x, **x
  std::string name;
  ExprPtr value;
};
using CallArguments = std::vector<CallArgument>;

struct Literal {
  Value value;
};
struct Name {
  std::string name;
};
struct Sequence {
  std::vector<ExprPtr> items;
  bool tuple;
};
struct DictLiteral {
  std::vector<std::pair<ExprPtr, ExprPtr>> entries;
};
struct Unary {
  UnaryOp op;
  ExprPtr operand;
};
struct Arithmetic {
  ExprPtr first;
  std::vector<std::pair<BinaryOp, ExprPtr>> rest;  // applied from the left
};
struct Concat {
  std::vector<ExprPtr> items;
};
struct Logic {
  bool is_and;
  std::vector<ExprPtr> items;
};
struct Comparison {
  ExprPtr first;
  std::vector<std::pair<CompareOp, ExprPtr>> rest;  // a < b < c, as in Python
};
struct Conditional {
  ExprPtr test, value, otherwise;  // otherwise may be null
};

struct AttributeSuffix {
  std::string name;
};
struct SubscriptSuffix {
  ExprPtr key;
};
struct SliceSuffix {
  ExprPtr start, stop, step;  // each may be null
};
struct CallSuffix {
  CallArguments arguments;
};
struct FilterSuffix {
  std::string name;
  const Filter* filter;  // null: unknown, in a branch that may not run
  CallArguments arguments;
};
struct TestSuffix {
  std::string name;
  const Test* test;  // as above
  bool negated;
  CallArguments arguments;
};
struct Suffix {
  int line;
  std::variant<AttributeSuffix, SubscriptSuffix, SliceSuffix, CallSuffix, FilterSuffix, TestSuffix> part;
};
struct Postfix {
  ExprPtr base;  // null in {% filter %} and {% set x | f %}: the rendered body
  std::vector<Suffix> suffixes;
};

struct Expr {
  int line;
  std::variant<Literal, Name, Sequence, DictLiteral, Unary, Arithmetic, Concat, Logic, Comparison,
               Conditional, Postfix>
      node;
};

// What `set` and `for` assign to.
struct Target {
  std::string name;            // a variable, or the namespace of name.attribute
  std::string attribute;       // empty: a variable
  std::vector<Target> unpack;  // of a tuple; the name is then empty
  bool tuple = false;
};

struct Statement;
using Block = std::vector<Statement>;

struct Text {
  std::string text;
};
struct Output {
  ExprPtr value;
};
struct If {
  std::vector<std::pair<ExprPtr, Block>> branches;
  Block otherwise;
};
struct For {
  Target target;
  ExprPtr items;
  ExprPtr condition;  // may be null
  bool recursive = false;
  Block body, otherwise;
};
struct Set {
  Target target;
  ExprPtr value;
};
struct SetBlock {
  Target target;
  Postfix filters;
  Block body;
};
struct Parameter {
  std::string name;
  ExprPtr fallback;  // may be null
};
struct Macro {
  std::string name;
  std::vector<Parameter> parameters;
  Block body;
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;
};
struct MacroBlock {
  std::unique_ptr<Macro> macro;
};
struct CallBlock {
  ExprPtr call;
  std::unique_ptr<Macro> caller;
};
struct FilterBlock {
  Postfix filters;
  Block body;
};
struct With {
  std::vector<std::pair<Target, ExprPtr>> variables;
  Block body;
};
struct Generation {  // marks what an assistant wrote, for training; rendered as its body
  Block body;
};
struct Break {};
struct Continue {};

struct Statement {
  int line;
  std::variant<Text, Output, If, For, Set, SetBlock, MacroBlock, CallBlock, FilterBlock, With, Generation,
               Break, Continue>
      node;
};

}  // namespace chorus::jinja
