#include "formats/jinja_parser.h"

#include "formats/jinja_parser_state.h"

namespace chorus::jinja {
namespace {

class StatementParser {
 public:
  StatementParser(std::vector<Token> tokens, int depth) : tokens_(std::move(tokens), depth) {}

  Block run();

 private:
  using Ends = std::initializer_list<std::string_view>;

  Block block(Ends ends);
  Block body(Ends ends);
  Block last_body(std::string_view end);
  void statement(Block& out);
  If if_statement();
  For for_statement();
  void set_statement(Block& out, int line);
  MacroBlock macro_statement();
  CallBlock call_statement();
  With with_statement();
  void signature(Macro& macro);
  void macro_body(Macro& macro, std::string_view end);
  void end_tag();

  TokenStream tokens_;
  ExpressionParser expressions_{tokens_};
  int loops_ = 0;
};

Block StatementParser::run() {
  Block out = block({});
  return out;
}

// Statements and text up to a tag that begins with one of `ends`, which stays the next token; with no ends,
// up to the end of the template.
Block StatementParser::block(Ends ends) {
  const TokenStream::Level level(tokens_);
  Block out;
  while (true) {
    const int line = tokens_.line();
    if (tokens_.is(TokenKind::kData)) {
      out.push_back({line, Text{std::move(tokens_.next().text)}});
    } else if (tokens_.is(TokenKind::kVariableBegin)) {
      tokens_.next();
      out.push_back({line, Output{expressions_.tuple()}});
      if (!tokens_.is(TokenKind::kVariableEnd))
        tokens_.error(fmt::format("expected '}}}}', got {}", tokens_.describe()));
      tokens_.next();
    } else if (tokens_.is(TokenKind::kEnd)) {
      if (ends.size() == 0) return out;
      tokens_.error(fmt::format("the template ends before '{{% {} %}}'", *(ends.end() - 1)));
    } else {
      tokens_.next();
      for (const std::string_view end : ends)
        if (tokens_.is_name(end)) return out;
      statement(out);
      end_tag();
    }
  }
}

void StatementParser::end_tag() {
  if (!tokens_.is(TokenKind::kBlockEnd))
    tokens_.error(fmt::format("expected '%}}', got {}", tokens_.describe()));
  tokens_.next();
}

Block StatementParser::body(Ends ends) {
  tokens_.skip_op(":");
  end_tag();
  return block(ends);
}

Block StatementParser::last_body(std::string_view end) {
  Block out = body({end});
  tokens_.next();
  return out;
}

void StatementParser::statement(Block& out) {
  const int line = tokens_.line();
  const std::string tag = tokens_.expect_name("the name of a tag");
  if (tag == "if") {
    out.push_back({line, if_statement()});
  } else if (tag == "for") {
    out.push_back({line, for_statement()});
  } else if (tag == "set") {
    set_statement(out, line);
  } else if (tag == "macro") {
    out.push_back({line, macro_statement()});
  } else if (tag == "call") {
    out.push_back({line, call_statement()});
  } else if (tag == "filter") {
    FilterBlock filter;
    expressions_.filters(filter.filters.suffixes, true);
    filter.body = last_body("endfilter");
    out.push_back({line, std::move(filter)});
  } else if (tag == "with") {
    out.push_back({line, with_statement()});
  } else if (tag == "generation") {
    out.push_back({line, Generation{last_body("endgeneration")}});
  } else if (tag == "print") {
    out.push_back({line, Output{expressions_.tuple()}});
  } else if (tag == "break" || tag == "continue") {
    if (loops_ == 0) tokens_.error(fmt::format("'{}' outside a loop", tag));
    tag == "break" ? out.push_back({line, Break{}}) : out.push_back({line, Continue{}});
  } else {
    fail("chat template: line {}: the tag '{}' is not supported", line, printable(tag, 40));
  }
}

If StatementParser::if_statement() {
  If node;
  ++expressions_.branches;
  while (true) {
    ExprPtr test = expressions_.tuple(false);
    node.branches.emplace_back(std::move(test), body({"elif", "else", "endif"}));
    const std::string tag = std::move(tokens_.next().text);
    if (tag == "elif") continue;
    if (tag == "else") node.otherwise = last_body("endif");
    break;
  }
  --expressions_.branches;
  return node;
}

For StatementParser::for_statement() {
  For node;
  node.target = expressions_.target("in");
  if (!tokens_.skip_name("in")) tokens_.error(fmt::format("expected 'in', got {}", tokens_.describe()));
  node.items = expressions_.tuple(false, false, "recursive");
  if (tokens_.skip_name("if")) node.condition = expressions_.expression();
  node.recursive = tokens_.skip_name("recursive");
  ++loops_;
  node.body = body({"endfor", "else"});
  --loops_;
  if (tokens_.next().text == "else") node.otherwise = last_body("endfor");
  return node;
}

void StatementParser::set_statement(Block& out, int line) {
  Target target = expressions_.target();
  if (tokens_.skip_op("=")) {
    out.push_back({line, Set{std::move(target), expressions_.tuple()}});
    return;
  }
  SetBlock node;
  node.target = std::move(target);
  expressions_.filters(node.filters.suffixes, false);
  node.body = last_body("endset");
  out.push_back({line, std::move(node)});
}

// (a, b=1)
void StatementParser::signature(Macro& macro) {
  tokens_.expect_op("(");
  while (!tokens_.is_op(")")) {
    if (!macro.parameters.empty()) tokens_.expect_op(",");
    Parameter parameter{tokens_.expect_name("the name of a parameter"), nullptr};
    if (tokens_.skip_op("=")) {
      parameter.fallback = expressions_.expression();
    } else if (!macro.parameters.empty() && macro.parameters.back().fallback) {
      tokens_.error("a parameter without a default follows one with a default");
    }
    macro.parameters.push_back(std::move(parameter));
  }
  tokens_.expect_op(")");
}

void StatementParser::macro_body(Macro& macro, std::string_view end) {
  expressions_.open_macros.push_back(&macro);
  const int loops = std::exchange(loops_, 0);
  macro.body = last_body(end);
  loops_ = loops;
  expressions_.open_macros.pop_back();
}

MacroBlock StatementParser::macro_statement() {
  auto macro = std::make_unique<Macro>();
  macro->name = tokens_.expect_name("the name of a macro");
  signature(*macro);
  macro_body(*macro, "endmacro");
  return {std::move(macro)};
}

CallBlock StatementParser::call_statement() {
  auto caller = std::make_unique<Macro>();
  caller->name = "caller";
  if (tokens_.is_op("(")) signature(*caller);
  ExprPtr call = expressions_.expression();
  const Postfix* chain = std::get_if<Postfix>(&call->node);
  if (chain == nullptr || !std::holds_alternative<CallSuffix>(chain->suffixes.back().part))
    tokens_.error("{% call %} needs a call");
  macro_body(*caller, "endcall");
  return {std::move(call), std::move(caller)};
}

With StatementParser::with_statement() {
  With node;
  while (!tokens_.is(TokenKind::kBlockEnd)) {
    if (!node.variables.empty()) tokens_.expect_op(",");
    Target target;
    target.name = tokens_.expect_name("a name to assign to");
    tokens_.expect_op("=");
    node.variables.emplace_back(std::move(target), expressions_.expression());
  }
  node.body = last_body("endwith");
  return node;
}

}  // namespace

Block parse_template(std::string_view source, int depth) {
  return StatementParser(tokenize(source), depth).run();
}

}  // namespace chorus::jinja
