#include <map>
#include <string>
#include <utility>

#include "base/utf8.h"
#include "grammar/sources.h"
#include "grammar/text_cursor.h"

namespace chorus {
namespace {

constexpr size_t kMaxRules = 10'000;

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

class GbnfParser {
 public:
  explicit GbnfParser(std::string_view text) : in_(text, "grammar") {}

  Grammar parse() {
    skip_space();
    while (!in_.at_end()) parse_rule();
    for (const auto& [name, rule] : rules_) {
      if (grammar_.body(rule.id) < 0)
        in_.fail_at(rule.first_use, "rule \"{}\" is not defined", printable(name));
    }
    const auto root = rules_.find("root");
    if (root == rules_.end()) fail("grammar: there is no rule \"root\", which is the start");
    grammar_.set_root(grammar_.reference(root->second.id));
    return std::move(grammar_);
  }

 private:
  struct Rule {
    RuleId id = -1;
    size_t first_use = 0;
  };

  // Space, line ends and comments. A rule goes on until the next "name ::=", whatever the lines.
  void skip_space() {
    for (;;) {
      while (in_.peek() == ' ' || in_.peek() == '\t' || in_.peek() == '\n' || in_.peek() == '\r')
        in_.move_to(in_.position() + 1);
      if (in_.peek() != '#') return;
      while (!in_.at_end() && in_.peek() != '\n') in_.move_to(in_.position() + 1);
    }
  }

  std::string_view parse_name() {
    const size_t begin = in_.position();
    while (is_name_char(in_.peek())) in_.move_to(in_.position() + 1);
    if (in_.position() == begin) in_.fail_here("the name of a rule is missing");
    return in_.since(begin);
  }

  bool at_rule_start() {
    const size_t begin = in_.position();
    while (is_name_char(in_.peek())) in_.move_to(in_.position() + 1);
    skip_space();
    const bool starts = in_.starts_with("::=");
    in_.move_to(begin);
    return starts;
  }

  RuleId rule_named(std::string_view name, size_t position) {
    const auto [entry, added] = rules_.try_emplace(std::string(name));
    if (added) {
      if (rules_.size() > kMaxRules) in_.fail_at(position, "more than {} rules", kMaxRules);
      entry->second = {grammar_.add_rule(std::string(name)), position};
    }
    return entry->second.id;
  }

  void parse_rule() {
    const size_t begin = in_.position();
    const std::string name(parse_name());
    skip_space();
    if (!in_.accept("::=")) in_.fail_here("\"::=\" is missing after the name of a rule");
    skip_space();
    const RuleId rule = rule_named(name, begin);
    if (grammar_.body(rule) >= 0) in_.fail_at(begin, "rule \"{}\" is defined twice", printable(name));
    grammar_.define(rule, parse_choice(0));
    if (!in_.at_end() && !at_rule_start())
      in_.fail_here("\"{}\" has no place here", in_.peek() == ')' ? ")" : "this");
  }

  ExprId parse_choice(int depth) {
    std::vector<ExprId> parts = {parse_sequence(depth)};
    while (in_.accept("|")) {
      skip_space();
      parts.push_back(parse_sequence(depth));
    }
    return grammar_.choice(std::move(parts));
  }

  ExprId parse_sequence(int depth) {
    std::vector<ExprId> parts;
    while (!in_.at_end() && in_.peek() != '|' && in_.peek() != ')') {
      if (is_name_char(in_.peek()) && at_rule_start()) {
        if (depth > 0) in_.fail_here("\")\" is missing before the next rule");
        break;
      }
      parts.push_back(parse_quantifiers(parse_item(depth)));
    }
    return grammar_.sequence(std::move(parts));
  }

  ExprId parse_item(int depth) {
    const size_t begin = in_.position();
    if (in_.accept("\"")) return parse_literal(begin);
    if (in_.accept("[")) return parse_class(begin);
    if (in_.accept(".")) return grammar_.char_class({}, true);
    if (in_.accept("(")) {
      if (depth + 1 > kMaxGrammarDepth) in_.fail_at(begin, "groups nest deeper than {}", kMaxGrammarDepth);
      skip_space();
      const ExprId group = parse_choice(depth + 1);
      if (!in_.accept(")")) in_.fail_at(begin, "this group has no \")\"");
      return group;
    }
    if (is_name_char(in_.peek())) return grammar_.reference(rule_named(parse_name(), begin));
    in_.fail_here("a literal, a class, a group or the name of a rule is missing");
  }

  ExprId parse_quantifiers(ExprId item) {
    for (;;) {
      skip_space();
      if (in_.accept("*")) {
        item = grammar_.repeat(item, 0, -1);
      } else if (in_.accept("+")) {
        item = grammar_.repeat(item, 1, -1);
      } else if (in_.accept("?")) {
        item = grammar_.optional(item);
      } else if (in_.peek() == '{') {
        item = parse_bounds(item);
      } else {
        return item;
      }
      if (++quantifiers_ > kMaxQuantifiers) in_.fail_here("more than {} quantifiers", kMaxQuantifiers);
    }
  }

  ExprId parse_bounds(ExprId item) {
    const size_t begin = in_.position();
    in_.accept("{");
    skip_space();
    const int min = in_.count();
    int max = min;
    skip_space();
    if (in_.accept(",")) {
      skip_space();
      max = in_.at_digit() ? in_.count() : -1;
      skip_space();
    }
    if (!in_.accept("}")) in_.fail_here("\"}}\" is missing");
    if (max >= 0 && max < min) in_.fail_at(begin, "{{{},{}}}: the second bound is below the first", min, max);
    return grammar_.repeat(item, min, max);
  }

  ExprId parse_literal(size_t begin) {
    std::string bytes;
    while (!in_.accept("\"")) {
      if (in_.at_end()) in_.fail_at(begin, "this literal has no closing quote");
      append_utf8(bytes, parse_char());
    }
    return grammar_.literal(bytes);
  }

  ExprId parse_class(size_t begin) {
    const bool negated = in_.accept("^");
    std::vector<CodepointRange> ranges;
    while (!in_.accept("]")) {
      if (in_.at_end()) in_.fail_at(begin, "this class has no \"]\"");
      const size_t at = in_.position();
      const uint32_t first = parse_char();
      uint32_t last = first;
      if (in_.peek() == '-' && in_.peek(1) != ']' && in_.peek(1) != '\0') {
        in_.accept("-");
        last = parse_char();
      }
      if (last < first) in_.fail_at(at, "the range ends before it begins");
      ranges.push_back({first, last});
    }
    return grammar_.char_class(std::move(ranges), negated);
  }

  uint32_t parse_char() {
    const size_t begin = in_.position();
    const uint32_t c = in_.next();
    if (c != '\\') return c;
    const uint32_t escaped = in_.next();
    uint32_t value = 0;
    switch (escaped) {
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 't':
        return '\t';
      case 'x':
        return in_.hex(2);
      case 'u':
        value = in_.hex(4);
        break;
      case 'U':
        value = in_.hex(8);
        break;
      case '\\':
      case '"':
      case '[':
      case ']':
      case '-':
      case '^':
      case '/':
        return escaped;
      default:
        in_.fail_at(
            begin,
            "unknown escape; \\n \\r \\t \\\\ \\\" \\[ \\] \\- \\^ \\xHH \\uHHHH \\UHHHHHHHH are known");
    }
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
      in_.fail_at(begin, "U+{:04X} is not a character", value);
    return value;
  }

  static constexpr int kMaxQuantifiers = 100'000;

  TextCursor in_;
  Grammar grammar_;
  std::map<std::string, Rule, std::less<>> rules_;
  int quantifiers_ = 0;
};

}  // namespace

Grammar parse_gbnf(std::string_view text) { return GbnfParser(text).parse(); }

}  // namespace chorus
