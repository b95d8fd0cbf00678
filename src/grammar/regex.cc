#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "grammar/regex_classes.h"
#include "grammar/sources.h"
#include "grammar/text_cursor.h"

namespace chorus {
namespace {

using Ranges = std::vector<CodepointRange>;

constexpr uint32_t kLastCodepoint = 0x10FFFF;
constexpr size_t kMaxRanges = 200'000;  // of all classes together

bool is_surrogate(uint32_t c) { return c >= 0xD800 && c <= 0xDFFF; }

// One alternative, and whether it is held to the ends of the text.
struct Alternative {
  std::vector<ExprId> parts;
  bool from_start = false, to_end = false;
};

class RegexParser {
 public:
  RegexParser(Grammar& grammar, std::string_view pattern, const CharacterExpr& character)
      : in_(pattern, "regex"), grammar_(grammar), character_(character) {}

  std::vector<Alternative> parse() {
    std::vector<Alternative> alternatives = parse_alternatives(0);
    if (!in_.at_end()) in_.fail_here("\")\" without \"(\"");
    return alternatives;
  }

 private:
  std::vector<Alternative> parse_alternatives(int depth) {
    std::vector<Alternative> alternatives;
    do {
      parse_alternative(depth, alternatives);
    } while (in_.accept("|"));
    return alternatives;
  }

  void parse_alternative(int depth, std::vector<Alternative>& alternatives) {
    Alternative alternative;
    const auto at_end = [&] { return in_.at_end() || in_.peek() == '|' || in_.peek() == ')'; };
    while (in_.accept("^")) alternative.from_start = true;
    while (!at_end()) {
      const size_t begin = in_.position();
      if (in_.accept("$")) {
        while (in_.accept("$")) continue;
        if (!at_end()) in_.fail_at(begin, "\"$\" is supported at the end of an alternative only");
        alternative.to_end = true;
        break;
      }
      if (in_.peek() == '^') in_.fail_here("\"^\" is supported at the beginning of an alternative only");
      if (in_.accept("(")) {
        std::vector<Alternative> group = parse_group(begin, depth);
        // A group that is all of an alternative may hold anchors: its alternatives are ours.
        if (alternative.parts.empty() && !alternative.from_start && at_end()) {
          std::ranges::move(group, std::back_inserter(alternatives));
          return;
        }
        alternative.parts.push_back(parse_quantifier(group_expr(begin, std::move(group))));
      } else {
        alternative.parts.push_back(parse_quantifier(parse_atom()));
      }
    }
    alternatives.push_back(std::move(alternative));
  }

  // What stands after "(" up to its ")".
  std::vector<Alternative> parse_group(size_t begin, int depth) {
    if (depth + 1 > kMaxGrammarDepth) in_.fail_at(begin, "groups nest deeper than {}", kMaxGrammarDepth);
    if (in_.accept("?")) {
      if (in_.starts_with("=") || in_.starts_with("!") || in_.starts_with("<=") || in_.starts_with("<!"))
        in_.fail_at(begin, "look-around is not supported");
      if (in_.accept("<")) {
        while (!in_.at_end() && in_.peek() != '>' && in_.peek() != ')') in_.next();
        if (!in_.accept(">")) in_.fail_at(begin, "the group's name has no \">\"");
      } else if (!in_.accept(":")) {
        in_.fail_at(begin, "unknown kind of group; (...), (?:...) and (?<name>...) are known");
      }
    }
    std::vector<Alternative> alternatives = parse_alternatives(depth + 1);
    if (!in_.accept(")")) in_.fail_at(begin, "this group has no \")\"");
    return alternatives;
  }

  ExprId group_expr(size_t begin, std::vector<Alternative> group) {
    std::vector<ExprId> choices;
    for (Alternative& alternative : group) {
      if (alternative.from_start || alternative.to_end)
        in_.fail_at(begin, "\"^\" and \"$\" within this group are not supported: put them around it");
      choices.push_back(grammar_.sequence(std::move(alternative.parts)));
    }
    return grammar_.choice(std::move(choices));
  }

  ExprId parse_quantifier(ExprId atom) {
    const size_t begin = in_.position();
    int min = 0, max = -1;
    if (in_.accept("*")) {
    } else if (in_.accept("+")) {
      min = 1;
    } else if (in_.accept("?")) {
      max = 1;
    } else if (!parse_bounds(min, max)) {
      return atom;
    }
    if (max >= 0 && max < min) in_.fail_at(begin, "{{{},{}}}: the second bound is below the first", min, max);
    in_.accept("?");  // lazy: the same texts
    return grammar_.repeat(atom, min, max);
  }

  // "{" that begins no bounds is a character.
  bool parse_bounds(int& min, int& max) {
    const size_t begin = in_.position();
    if (!in_.accept("{") || !in_.at_digit()) {
      in_.move_to(begin);
      return false;
    }
    min = max = in_.count();
    if (in_.accept(",")) max = in_.at_digit() ? in_.count() : -1;
    if (in_.accept("}")) return true;
    in_.move_to(begin);
    return false;
  }

  ExprId parse_atom() {
    const size_t begin = in_.position();
    if (in_.accept("[")) return add_class(parse_class(begin));
    if (in_.accept(".")) return add_class(complement_class(line_terminator_class()));
    if (in_.accept("\\")) {
      Ranges set;
      const std::optional<uint32_t> character = parse_escape(begin, false, set);
      return add_class(character ? Ranges{{*character, *character}} : std::move(set));
    }
    int min = 0, max = 0;
    const char c = in_.peek();
    if (c == '*' || c == '+' || c == '?' || parse_bounds(min, max)) in_.fail_at(begin, "nothing to repeat");
    const uint32_t code_point = in_.next();
    return add_class({{code_point, code_point}});
  }

  ExprId add_class(Ranges ranges) {
    ranges_ += ranges.size();
    if (ranges_ > kMaxRanges) in_.fail_here("the classes have more than {} ranges together", kMaxRanges);
    return character_(grammar_, std::move(ranges));
  }

  Ranges parse_class(size_t begin) {
    const bool negated = in_.accept("^");
    Ranges set;
    while (!in_.accept("]")) {
      if (in_.at_end()) in_.fail_at(begin, "this class has no \"]\"");
      const size_t at = in_.position();
      const std::optional<uint32_t> first = parse_class_member(set);
      if (!first) continue;
      uint32_t last = *first;
      if (in_.peek() == '-' && in_.peek(1) != ']' && in_.peek(1) != '\0') {
        in_.accept("-");
        const std::optional<uint32_t> end = parse_class_member(set);
        if (!end) in_.fail_at(at, "a range cannot end with a class");
        last = *end;
      }
      if (last < *first) in_.fail_at(at, "the range ends before it begins");
      set.push_back({*first, last});
    }
    return negated ? complement_class(std::move(set)) : set;
  }

  // The character; or none, and a class such as \d is added to `set`.
  std::optional<uint32_t> parse_class_member(Ranges& set) {
    const size_t begin = in_.position();
    if (in_.accept("\\")) return parse_escape(begin, true, set);
    return in_.next();
  }

  std::optional<uint32_t> parse_escape(size_t begin, bool in_class, Ranges& set) {
    const auto add = [&](Ranges ranges) -> std::optional<uint32_t> {
      set.insert(set.end(), ranges.begin(), ranges.end());
      return std::nullopt;
    };
    const uint32_t c = in_.next();
    switch (c) {
      case 'd':
        return add(digit_class());
      case 'D':
        return add(complement_class(digit_class()));
      case 'w':
        return add(word_class());
      case 'W':
        return add(complement_class(word_class()));
      case 's':
        return add(space_class());
      case 'S':
        return add(complement_class(space_class()));
      case 'p':
      case 'P':
        return add(parse_property(begin, c == 'P'));
      case 'b':
        if (in_class) return '\b';
        [[fallthrough]];
      case 'B':
        in_.fail_at(begin, "word boundaries are not supported");
      case 'k':
        in_.fail_at(begin, "back-references are not supported");
      default:
        if (c >= '1' && c <= '9') in_.fail_at(begin, "back-references are not supported");
        return parse_character_escape(begin, c);
    }
  }

  uint32_t parse_character_escape(size_t begin, uint32_t c) {
    switch (c) {
      case 't':
        return '\t';
      case 'n':
        return '\n';
      case 'v':
        return '\v';
      case 'f':
        return '\f';
      case 'r':
        return '\r';
      case '0':
        return 0;
      case 'c':
        if (const uint32_t letter = in_.next() | 0x20; letter >= 'a' && letter <= 'z')
          return letter - 'a' + 1;
        in_.fail_at(begin, "\\c needs a letter");
      case 'x':
        return in_.hex(2);
      case 'u':
        return parse_unicode_escape(begin);
      default:
        if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') in_.fail_at(begin, "unknown escape");
        return c;
    }
  }

  // \uXXXX, a pair of surrogates, or \u{X...}
  uint32_t parse_unicode_escape(size_t begin) {
    uint32_t value = 0;
    if (in_.accept("{")) {
      do {
        value = value * 16 + in_.hex_digit();
        if (value > kLastCodepoint) in_.fail_at(begin, "beyond U+10FFFF");
      } while (!in_.accept("}"));
      return value;
    }
    value = in_.hex(4);
    if (value >= 0xD800 && value < 0xDC00 && in_.accept("\\u")) {
      const uint32_t low = in_.hex(4);
      if (low < 0xDC00 || low > 0xDFFF) in_.fail_at(begin, "half a pair of surrogates");
      return 0x10000 + ((value - 0xD800) << 10 | (low - 0xDC00));
    }
    if (is_surrogate(value)) in_.fail_at(begin, "half a pair of surrogates");
    return value;
  }

  const Ranges& parse_property(size_t begin, bool negated) {
    if (!in_.accept("{")) in_.fail_at(begin, "\\p needs a property: \\p{{L}}");
    const size_t name_begin = in_.position();
    while (!in_.at_end() && in_.peek() != '}') in_.next();
    const std::string_view name = in_.since(name_begin);
    if (!in_.accept("}")) in_.fail_at(begin, "the property has no \"}}\"");
    const std::string key = (negated ? "P" : "p") + std::string(name);
    const auto [entry, added] = properties_.try_emplace(key);
    if (!added) return entry->second;
    if (!categories_.find(name, entry->second))
      in_.fail_at(begin, "property {}: only general categories (L, Lu, Nd, ...), Any and ASCII are known",
                  printable(name));
    if (negated) entry->second = complement_class(std::move(entry->second));
    return entry->second;
  }

  TextCursor in_;
  Grammar& grammar_;
  const CharacterExpr& character_;
  size_t ranges_ = 0;
  UnicodeCategories categories_;
  std::map<std::string, Ranges> properties_;
};

}  // namespace

ExprId add_regex(Grammar& grammar, std::string_view pattern, const CharacterExpr& character, bool search,
                 const CharacterExpr& any_character) {
  std::vector<Alternative> alternatives = RegexParser(grammar, pattern, character).parse();
  ExprId anything = -1;
  std::vector<ExprId> choices;
  for (Alternative& alternative : alternatives) {
    std::vector<ExprId> parts = std::move(alternative.parts);
    if (search && anything < 0 && !(alternative.from_start && alternative.to_end))
      anything = grammar.repeat(any_character(grammar, {{0, kLastCodepoint}}), 0, -1);
    if (search && !alternative.from_start) parts.insert(parts.begin(), anything);
    if (search && !alternative.to_end) parts.push_back(anything);
    choices.push_back(grammar.sequence(std::move(parts)));
  }
  return grammar.choice(std::move(choices));
}

Grammar parse_regex(std::string_view pattern) {
  Grammar grammar;
  const CharacterExpr character = [](Grammar& g, Ranges set) { return g.char_class(std::move(set)); };
  grammar.set_root(add_regex(grammar, pattern, character, false, character));
  return grammar;
}

}  // namespace chorus
