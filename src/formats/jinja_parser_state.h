#pragma once

#include <fmt/format.h>

#include <initializer_list>
#include <utility>
#include <vector>

#include "base/error.h"
#include "formats/jinja_ast.h"
#include "formats/jinja_lexer.h"

// The parser's token stream and its two halves; only they include this.
namespace chorus::jinja {

class TokenStream {
 public:
  TokenStream(std::vector<Token> tokens, int depth) : tokens_(std::move(tokens)), depth_left_(depth) {}

  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  Token& next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  int line() const { return peek().line; }

  bool is(TokenKind kind) const { return peek().kind == kind; }
  bool is_op(std::string_view op, size_t ahead = 0) const {
    return peek(ahead).kind == TokenKind::kOperator && peek(ahead).text == op;
  }
  bool is_name(std::string_view name, size_t ahead = 0) const {
    return peek(ahead).kind == TokenKind::kName && peek(ahead).text == name;
  }
  bool skip_op(std::string_view op) { return is_op(op) && (next(), true); }
  bool skip_name(std::string_view name) { return is_name(name) && (next(), true); }
  void expect_op(std::string_view op) {
    if (!skip_op(op)) error(fmt::format("expected '{}', got {}", op, describe()));
  }
  std::string expect_name(std::string_view what) {
    if (!is(TokenKind::kName)) error(fmt::format("expected {}, got {}", what, describe()));
    return std::move(next().text);
  }
  std::string describe() const;
  [[noreturn]] void error(std::string_view message) const {
    fail("chat template: line {}: {}", line(), printable(message, 200));
  }

  // One more level of nesting, until the guard dies.
  class Level {
   public:
    explicit Level(TokenStream& tokens) : tokens_(tokens) {
      if (--tokens_.depth_left_ < 0) tokens_.error("expressions and blocks are nested too deeply");
    }
    ~Level() { ++tokens_.depth_left_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    TokenStream& tokens_;
  };

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_left_;
};

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  ExprPtr expression(bool with_conditional = true);
  // An expression, or several with commas: a tuple. `end` is a name that ends it ("" for none).
  ExprPtr tuple(bool with_conditional = true, bool parenthesized = false, std::string_view end = {});
  Target target(std::string_view end = {});
  CallArguments call_arguments();
  void filters(std::vector<Suffix>& suffixes, bool start_inline);

  // What the template names; set by the statement parser around bodies.
  int branches = 0;                 // enclosing `if`s: unknown filters in them are errors only when run
  std::vector<Macro*> open_macros;  // whose body uses of caller, varargs and kwargs are noted

 private:
  ExprPtr conditional();
  ExprPtr logic_or();
  ExprPtr logic_and();
  ExprPtr logic_not();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concat();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filters = true);
  ExprPtr primary();
  ExprPtr name();
  ExprPtr list();
  ExprPtr dict();
  void postfix(std::vector<Suffix>& suffixes);
  void filter_or_test(std::vector<Suffix>& suffixes);
  void attribute(std::vector<Suffix>& suffixes);
  void subscript(std::vector<Suffix>& suffixes);
  void test(std::vector<Suffix>& suffixes);
  ExprPtr arithmetic(ExprPtr (ExpressionParser::*operand)(),
                     std::initializer_list<std::pair<std::string_view, BinaryOp>> ops);
  Target single_target();

  TokenStream& tokens_;
};

template <typename Node>
ExprPtr make_expr(int line, Node node) {
  return std::make_unique<Expr>(Expr{line, std::move(node)});
}

}  // namespace chorus::jinja
