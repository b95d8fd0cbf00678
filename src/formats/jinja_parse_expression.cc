#include <charconv>
#include <optional>

#include "formats/jinja_filters.h"
#include "formats/jinja_parser_state.h"
#include "formats/jinja_tests.h"

namespace chorus::jinja {

std::string TokenStream::describe() const {
  switch (peek().kind) {
    case TokenKind::kData:
      return "text";
    case TokenKind::kVariableBegin:
      return "'{{'";
    case TokenKind::kVariableEnd:
      return "'}}'";
    case TokenKind::kBlockBegin:
      return "'{%'";
    case TokenKind::kBlockEnd:
      return "'%}'";
    case TokenKind::kEnd:
      return "the end of the template";
    default:
      return fmt::format("'{}'", printable(peek().text, 40));
  }
}

ExprPtr ExpressionParser::expression(bool with_conditional) {
  const TokenStream::Level level(tokens_);
  return with_conditional ? conditional() : logic_or();
}

// value if test else value. The chain of ifs on the left is a loop, so it counts as nesting by itself.
ExprPtr ExpressionParser::conditional() {
  ExprPtr value = logic_or();
  std::vector<std::unique_ptr<TokenStream::Level>> levels;
  while (tokens_.is_name("if")) {
    const int line = tokens_.line();
    levels.push_back(std::make_unique<TokenStream::Level>(tokens_));
    tokens_.next();
    ExprPtr test = logic_or();
    ExprPtr otherwise;
    if (tokens_.skip_name("else")) otherwise = expression();
    value = make_expr(line, Conditional{std::move(test), std::move(value), std::move(otherwise)});
  }
  return value;
}

ExprPtr ExpressionParser::logic_or() {
  const int line = tokens_.line();
  ExprPtr first = logic_and();
  if (!tokens_.is_name("or")) return first;
  Logic logic{false, {}};
  logic.items.push_back(std::move(first));
  while (tokens_.skip_name("or")) logic.items.push_back(logic_and());
  return make_expr(line, std::move(logic));
}

ExprPtr ExpressionParser::logic_and() {
  const int line = tokens_.line();
  ExprPtr first = logic_not();
  if (!tokens_.is_name("and")) return first;
  Logic logic{true, {}};
  logic.items.push_back(std::move(first));
  while (tokens_.skip_name("and")) logic.items.push_back(logic_not());
  return make_expr(line, std::move(logic));
}

ExprPtr ExpressionParser::logic_not() {
  const int line = tokens_.line();
  if (!tokens_.skip_name("not")) return comparison();
  const TokenStream::Level level(tokens_);
  return make_expr(line, Unary{UnaryOp::kNot, logic_not()});
}

namespace {

std::optional<CompareOp> compare_op(TokenStream& tokens) {
  static constexpr std::pair<std::string_view, CompareOp> kOps[] = {
      {"==", CompareOp::kEqual},     {"!=", CompareOp::kNotEqual}, {"<", CompareOp::kLess},
      {"<=", CompareOp::kLessEqual}, {">", CompareOp::kGreater},   {">=", CompareOp::kGreaterEqual}};
  for (const auto& [text, op] : kOps)
    if (tokens.skip_op(text)) return op;
  if (tokens.skip_name("in")) return CompareOp::kIn;
  if (tokens.is_name("not") && tokens.is_name("in", 1)) {
    tokens.next();
    tokens.next();
    return CompareOp::kNotIn;
  }
  return std::nullopt;
}

}  // namespace

ExprPtr ExpressionParser::comparison() {
  const int line = tokens_.line();
  ExprPtr first = sum();
  auto op = compare_op(tokens_);
  if (!op) return first;
  Comparison chain{std::move(first), {}};
  for (; op; op = compare_op(tokens_)) chain.rest.emplace_back(*op, sum());
  return make_expr(line, std::move(chain));
}

ExprPtr ExpressionParser::arithmetic(ExprPtr (ExpressionParser::*operand)(),
                                     std::initializer_list<std::pair<std::string_view, BinaryOp>> ops) {
  const int line = tokens_.line();
  ExprPtr first = (this->*operand)();
  Arithmetic chain{nullptr, {}};
  while (true) {
    const auto* found = ops.begin();
    while (found != ops.end() && !tokens_.is_op(found->first)) ++found;
    if (found == ops.end()) break;
    tokens_.next();
    chain.rest.emplace_back(found->second, (this->*operand)());
  }
  if (chain.rest.empty()) return first;
  chain.first = std::move(first);
  return make_expr(line, std::move(chain));
}

ExprPtr ExpressionParser::sum() {
  return arithmetic(&ExpressionParser::concat, {{"+", BinaryOp::kAdd}, {"-", BinaryOp::kSubtract}});
}

ExprPtr ExpressionParser::concat() {
  const int line = tokens_.line();
  ExprPtr first = product();
  if (!tokens_.is_op("~")) return first;
  Concat chain;
  chain.items.push_back(std::move(first));
  while (tokens_.skip_op("~")) chain.items.push_back(product());
  return make_expr(line, std::move(chain));
}

ExprPtr ExpressionParser::product() {
  return arithmetic(&ExpressionParser::power, {{"*", BinaryOp::kMultiply},
                                               {"/", BinaryOp::kDivide},
                                               {"//", BinaryOp::kFloorDivide},
                                               {"%", BinaryOp::kModulo}});
}

// Jinja's ** binds to the left, and weaker than the sign before it, unlike Python's.
ExprPtr ExpressionParser::power() {
  const int line = tokens_.line();
  ExprPtr first = unary();
  if (!tokens_.is_op("**")) return first;
  Arithmetic chain{std::move(first), {}};
  while (tokens_.skip_op("**")) chain.rest.emplace_back(BinaryOp::kPower, unary());
  return make_expr(line, std::move(chain));
}

ExprPtr ExpressionParser::unary(bool with_filters) {
  const int line = tokens_.line();
  ExprPtr base;
  if (tokens_.is_op("-") || tokens_.is_op("+")) {
    const TokenStream::Level level(tokens_);
    const UnaryOp op = tokens_.next().text == "-" ? UnaryOp::kNegate : UnaryOp::kPositive;
    base = make_expr(line, Unary{op, unary(false)});
  } else {
    base = primary();
  }
  Postfix chain{nullptr, {}};
  postfix(chain.suffixes);
  if (with_filters) filter_or_test(chain.suffixes);
  if (chain.suffixes.empty()) return base;
  chain.base = std::move(base);
  return make_expr(line, std::move(chain));
}

ExprPtr ExpressionParser::name() {
  const int line = tokens_.line();
  std::string text = std::move(tokens_.next().text);
  if (text == "true" || text == "True") return make_expr(line, Literal{Value(true)});
  if (text == "false" || text == "False") return make_expr(line, Literal{Value(false)});
  if (text == "none" || text == "None") return make_expr(line, Literal{Value(None{})});
  for (Macro* macro : open_macros) {
    macro->uses_caller |= text == "caller";
    macro->uses_varargs |= text == "varargs";
    macro->uses_kwargs |= text == "kwargs";
  }
  return make_expr(line, Name{std::move(text)});
}

namespace {

ExprPtr number(TokenStream& tokens) {
  const int line = tokens.line();
  const bool is_float = tokens.is(TokenKind::kFloat);
  const std::string_view text = tokens.peek().text;
  if (is_float) {
    double value = 0;
    const auto end = std::from_chars(text.data(), text.data() + text.size(), value);
    if (end.ec != std::errc() || end.ptr != text.data() + text.size())
      tokens.error("a number is out of range");
    tokens.next();
    return make_expr(line, Literal{Value(value)});
  }
  const char mark = text.size() > 1 ? static_cast<char>(text[1] | 32) : '0';
  const int base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 10;
  const std::string_view digits = base == 10 ? text : text.substr(2);
  int64_t value = 0;
  const auto end = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (end.ec != std::errc() || end.ptr != digits.data() + digits.size())
    tokens.error("an integer does not fit 64 bits");
  tokens.next();
  return make_expr(line, Literal{Value(value)});
}

}  // namespace

ExprPtr ExpressionParser::primary() {
  const int line = tokens_.line();
  switch (tokens_.peek().kind) {
    case TokenKind::kName:
      return name();
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return number(tokens_);
    case TokenKind::kString: {
      std::string text;
      while (tokens_.is(TokenKind::kString)) text += tokens_.next().text;
      return make_expr(line, Literal{Value(std::move(text))});
    }
    default:
      break;
  }
  if (tokens_.is_op("[")) return list();
  if (tokens_.is_op("{")) return dict();
  if (!tokens_.skip_op("(")) tokens_.error(fmt::format("unexpected {}", tokens_.describe()));
  ExprPtr inner = tuple(true, true);
  tokens_.expect_op(")");
  return inner;
}

ExprPtr ExpressionParser::list() {
  const int line = tokens_.line();
  tokens_.next();
  Sequence items{{}, false};
  while (!tokens_.is_op("]")) {
    if (!items.items.empty()) tokens_.expect_op(",");
    if (tokens_.is_op("]")) break;
    items.items.push_back(expression());
  }
  tokens_.expect_op("]");
  return make_expr(line, std::move(items));
}

ExprPtr ExpressionParser::dict() {
  const int line = tokens_.line();
  tokens_.next();
  DictLiteral dict;
  while (!tokens_.is_op("}")) {
    if (!dict.entries.empty()) tokens_.expect_op(",");
    if (tokens_.is_op("}")) break;
    ExprPtr key = expression();
    tokens_.expect_op(":");
    dict.entries.emplace_back(std::move(key), expression());
  }
  tokens_.expect_op("}");
  return make_expr(line, std::move(dict));
}

ExprPtr ExpressionParser::tuple(bool with_conditional, bool parenthesized, std::string_view end) {
  const int line = tokens_.line();
  const auto ends = [&] {
    return tokens_.is(TokenKind::kVariableEnd) || tokens_.is(TokenKind::kBlockEnd) || tokens_.is_op(")") ||
           (!end.empty() && tokens_.is_name(end));
  };
  Sequence items{{}, true};
  bool comma = false;
  while (!ends()) {
    items.items.push_back(expression(with_conditional));
    if (!tokens_.is_op(",")) break;
    tokens_.next();
    comma = true;
  }
  if (!comma && !items.items.empty()) return std::move(items.items.front());
  if (!comma && !parenthesized)
    tokens_.error(fmt::format("expected an expression, got {}", tokens_.describe()));
  return make_expr(line, std::move(items));
}

void ExpressionParser::postfix(std::vector<Suffix>& suffixes) {
  while (true) {
    if (tokens_.is_op(".")) {
      attribute(suffixes);
    } else if (tokens_.is_op("[")) {
      subscript(suffixes);
    } else if (tokens_.is_op("(")) {
      const int line = tokens_.line();
      suffixes.push_back({line, CallSuffix{call_arguments()}});
    } else {
      return;
    }
  }
}

void ExpressionParser::filter_or_test(std::vector<Suffix>& suffixes) {
  while (true) {
    if (tokens_.is_op("|")) {
      filters(suffixes, false);
    } else if (tokens_.is_name("is")) {
      test(suffixes);
    } else if (tokens_.is_op("(") && !suffixes.empty()) {
      const int line = tokens_.line();
      suffixes.push_back({line, CallSuffix{call_arguments()}});
    } else {
      return;
    }
  }
}

void ExpressionParser::attribute(std::vector<Suffix>& suffixes) {
  const int line = tokens_.line();
  tokens_.next();
  if (tokens_.is(TokenKind::kInteger)) {
    suffixes.push_back({line, SubscriptSuffix{number(tokens_)}});
  } else {
    suffixes.push_back({line, AttributeSuffix{tokens_.expect_name("a name or a number after '.'")}});
  }
}

void ExpressionParser::subscript(std::vector<Suffix>& suffixes) {
  const int line = tokens_.line();
  tokens_.next();
  const auto part_ends = [&] { return tokens_.is_op("]") || tokens_.is_op(",") || tokens_.is_op(":"); };
  ExprPtr first;
  if (!tokens_.is_op(":")) first = expression();
  if (!tokens_.skip_op(":")) {
    if (tokens_.is_op(",")) {
      Sequence key{{}, true};
      key.items.push_back(std::move(first));
      while (tokens_.skip_op(",")) key.items.push_back(expression());
      first = make_expr(line, std::move(key));
    }
    tokens_.expect_op("]");
    suffixes.push_back({line, SubscriptSuffix{std::move(first)}});
    return;
  }
  SliceSuffix slice{std::move(first), nullptr, nullptr};
  if (!part_ends()) slice.stop = expression();
  if (tokens_.skip_op(":") && !part_ends()) slice.step = expression();
  tokens_.expect_op("]");
  suffixes.push_back({line, std::move(slice)});
}

CallArguments ExpressionParser::call_arguments() {
  using Kind = CallArgument::Kind;
  tokens_.expect_op("(");
  CallArguments arguments;
  bool named = false;
  while (!tokens_.is_op(")")) {
    if (!arguments.empty()) tokens_.expect_op(",");
    if (tokens_.is_op(")")) break;
    if (tokens_.skip_op("**")) {
      arguments.push_back({Kind::kDict, "", expression()});
      named = true;
    } else if (tokens_.skip_op("*")) {
      arguments.push_back({Kind::kList, "", expression()});
    } else if (tokens_.is(TokenKind::kName) && tokens_.is_op("=", 1)) {
      std::string name = std::move(tokens_.next().text);
      tokens_.next();
      arguments.push_back({Kind::kNamed, std::move(name), expression()});
      named = true;
    } else {
      if (named) tokens_.error("a positional argument follows a named one");
      arguments.push_back({Kind::kPositional, "", expression()});
    }
  }
  tokens_.expect_op(")");
  return arguments;
}

void ExpressionParser::filters(std::vector<Suffix>& suffixes, bool start_inline) {
  while (tokens_.is_op("|") || start_inline) {
    if (!start_inline) tokens_.next();
    start_inline = false;
    const int line = tokens_.line();
    std::string name = tokens_.expect_name("the name of a filter");
    while (tokens_.skip_op(".")) name += "." + tokens_.expect_name("the name of a filter");
    const Filter* filter = find_filter(name);
    if (filter == nullptr && branches == 0) tokens_.error(fmt::format("no filter is named '{}'", name));
    CallArguments arguments;
    if (tokens_.is_op("(")) arguments = call_arguments();
    suffixes.push_back({line, FilterSuffix{std::move(name), filter, std::move(arguments)}});
  }
}

void ExpressionParser::test(std::vector<Suffix>& suffixes) {
  const int line = tokens_.line();
  tokens_.next();
  const bool negated = tokens_.skip_name("not");
  std::string name = tokens_.expect_name("the name of a test");
  while (tokens_.skip_op(".")) name += "." + tokens_.expect_name("the name of a test");
  const Test* test = find_test(name);
  if (test == nullptr && branches == 0) tokens_.error(fmt::format("no test is named '{}'", name));
  CallArguments arguments;
  const TokenKind kind = tokens_.peek().kind;
  const bool value_begins = kind == TokenKind::kName || kind == TokenKind::kString ||
                            kind == TokenKind::kInteger || kind == TokenKind::kFloat || tokens_.is_op("[") ||
                            tokens_.is_op("{");
  if (tokens_.is_op("(")) {
    arguments = call_arguments();
  } else if (value_begins && !tokens_.is_name("else") && !tokens_.is_name("or") && !tokens_.is_name("and")) {
    if (tokens_.is_name("is")) tokens_.error("tests cannot be chained with 'is'");
    const TokenStream::Level level(tokens_);
    const int argument_line = tokens_.line();
    Postfix chain{primary(), {}};
    postfix(chain.suffixes);
    ExprPtr argument =
        chain.suffixes.empty() ? std::move(chain.base) : make_expr(argument_line, std::move(chain));
    arguments.push_back({CallArgument::Kind::kPositional, "", std::move(argument)});
  }
  suffixes.push_back({line, TestSuffix{std::move(name), test, negated, std::move(arguments)}});
}

Target ExpressionParser::single_target() {
  if (tokens_.skip_op("(")) {
    Target inner = target();
    tokens_.expect_op(")");
    return inner;
  }
  Target target;
  target.name = tokens_.expect_name("a name to assign to");
  for (const std::string_view constant : {"true", "True", "false", "False", "none", "None"})
    if (target.name == constant) tokens_.error(fmt::format("'{}' cannot be assigned to", constant));
  if (tokens_.skip_op(".")) target.attribute = tokens_.expect_name("the name of an attribute");
  return target;
}

Target ExpressionParser::target(std::string_view end) {
  const TokenStream::Level level(tokens_);
  Target tuple;
  while (true) {
    tuple.unpack.push_back(single_target());
    if (!tokens_.skip_op(",")) break;
    tuple.tuple = true;
    if (tokens_.is_op(")") || tokens_.is_op("=") || (!end.empty() && tokens_.is_name(end))) break;
  }
  if (tuple.tuple) return tuple;
  Target only = std::move(tuple.unpack.front());
  return only;
}

}  // namespace chorus::jinja
