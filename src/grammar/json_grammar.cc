#include "grammar/json_grammar.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"
#include "grammar/json_numbers.h"
#include "grammar/sources.h"

namespace chorus {
namespace {

constexpr CodepointRange kControls{0, 0x1F}, kQuote{'"', '"'}, kBackslash{'\\', '\\'};

struct ShortEscape {
  char character;
  const char* text;
};
constexpr ShortEscape kShortEscapes[] = {{'"', "\\\""}, {'\\', "\\\\"}, {'\b', "\\b"}, {'\f', "\\f"},
                                         {'\n', "\\n"}, {'\r', "\\r"},  {'\t', "\\t"}};

const char* short_escape(char character) {
  for (const ShortEscape& escape : kShortEscapes) {
    if (escape.character == character) return escape.text;
  }
  return nullptr;
}

std::string control_escape(uint32_t code_point) { return fmt::format("\\u{:04x}", code_point); }

bool holds(const std::vector<CodepointRange>& set, uint32_t code_point) {
  return std::ranges::any_of(
      set, [&](CodepointRange range) { return range.first <= code_point && code_point <= range.last; });
}

std::vector<CodepointRange> without(const std::vector<CodepointRange>& set, CodepointRange hole) {
  std::vector<CodepointRange> rest;
  for (const CodepointRange range : set) {
    if (range.first < hole.first) rest.push_back({range.first, std::min(range.last, hole.first - 1)});
    if (range.last > hole.last) rest.push_back({std::max(range.first, hole.last + 1), range.last});
  }
  return rest;
}

}  // namespace

RuleId JsonGrammar::rule(RuleId& memo, const char* name) {
  memo = g_.add_rule(name);
  return memo;
}

ExprId JsonGrammar::gap() {
  if (gap_ < 0) {
    g_.define(
        rule(gap_, "json-gap"),
        g_.optional(g_.choice(
            {g_.literal(" "), g_.sequence({g_.literal("\n"), g_.repeat(g_.literal(" "), 0, kMaxIndent)})})));
  }
  return g_.reference(gap_);
}

ExprId JsonGrammar::comma() {
  if (comma_ < 0) comma_ = g_.sequence({g_.literal(","), gap()});
  return comma_;
}

ExprId JsonGrammar::colon() {
  if (colon_ < 0) colon_ = g_.sequence({g_.literal(":"), g_.optional(g_.literal(" "))});
  return colon_;
}

ExprId JsonGrammar::object(ExprId members, bool empty_too) {
  const ExprId full = g_.sequence({g_.literal("{"), gap(), members, gap(), g_.literal("}")});
  return empty_too ? g_.choice({full, g_.literal("{}")}) : full;
}

ExprId JsonGrammar::array(ExprId elements, bool empty_too) {
  const ExprId full = g_.sequence({g_.literal("["), gap(), elements, gap(), g_.literal("]")});
  return empty_too ? g_.choice({full, g_.literal("[]")}) : full;
}

ExprId JsonGrammar::character() {
  if (character_ < 0) {
    const auto ranges = [&](std::vector<CodepointRange> set) { return g_.char_class(std::move(set)); };
    const ExprId hex = ranges({{'0', '9'}, {'a', 'f'}, {'A', 'F'}});
    const ExprId not_d = ranges({{'0', '9'}, {'a', 'c'}, {'A', 'C'}, {'e', 'f'}, {'E', 'F'}});
    const ExprId d = ranges({{'d', 'd'}, {'D', 'D'}});
    const ExprId high = ranges({{'8', '9'}, {'a', 'b'}, {'A', 'B'}}), low = ranges({{'c', 'f'}, {'C', 'F'}});
    const ExprId unit = g_.choice({
        g_.sequence({not_d, hex, hex, hex}),
        g_.sequence({d, ranges({{'0', '7'}}), hex, hex}),
        g_.sequence({d, high, hex, hex, g_.literal("\\u"), d, low, hex, hex}),
    });
    const ExprId escaped = g_.choice(
        {ranges({kQuote, kBackslash, {'/', '/'}, {'b', 'b'}, {'f', 'f'}, {'n', 'n'}, {'r', 'r'}, {'t', 't'}}),
         g_.sequence({g_.literal("u"), unit})});
    const ExprId raw = g_.char_class({kControls, kQuote, kBackslash}, true);
    g_.define(rule(character_, "json-character"), g_.choice({raw, g_.sequence({g_.literal("\\"), escaped})}));
  }
  return g_.reference(character_);
}

ExprId JsonGrammar::character(std::vector<CodepointRange> set) {
  std::vector<ExprId> choices;
  std::vector<CodepointRange> raw = set;
  for (const CodepointRange hole : {kControls, kQuote, kBackslash}) raw = without(raw, hole);
  if (!raw.empty()) choices.push_back(g_.char_class(std::move(raw)));
  for (const ShortEscape& escape : kShortEscapes) {
    if (holds(set, static_cast<unsigned char>(escape.character))) choices.push_back(g_.literal(escape.text));
  }
  if (choices.empty()) {
    for (uint32_t c = kControls.first; c <= kControls.last; ++c) {
      if (holds(set, c)) choices.push_back(g_.literal(control_escape(c)));
    }
  }
  return g_.choice(std::move(choices));
}

ExprId JsonGrammar::plain_character() {
  if (plain_ < 0) plain_ = character({{0, 0x10FFFF}});
  return plain_;
}

ExprId JsonGrammar::quoted(ExprId content) {
  return g_.sequence({g_.literal("\""), content, g_.literal("\"")});
}

ExprId JsonGrammar::integer() {
  const ExprId digits = g_.sequence(
      {g_.char_class({{'1', '9'}}), g_.repeat(g_.char_class({{'0', '9'}}), 0, kMaxNumberDigits - 1)});
  return g_.choice({g_.literal("0"), g_.sequence({g_.optional(g_.literal("-")), digits})});
}

ExprId JsonGrammar::number() {
  if (number_ < 0) {
    const ExprId digit = g_.char_class({{'0', '9'}});
    const ExprId point = g_.sequence({g_.literal("."), g_.repeat(digit, 1, kMaxNumberDigits)});
    const ExprId exponent =
        g_.sequence({g_.char_class({{'e', 'e'}, {'E', 'E'}}),
                     g_.optional(g_.char_class({{'+', '+'}, {'-', '-'}})), g_.repeat(digit, 1, 2)});
    const ExprId behind = g_.sequence({g_.optional(point), g_.optional(exponent)});
    const ExprId begin =
        g_.choice({g_.literal("0"), g_.sequence({g_.optional(g_.literal("-")), g_.char_class({{'1', '9'}}),
                                                 g_.repeat(digit, 0, kMaxNumberDigits - 1)})});
    const ExprId below_zero = g_.sequence({g_.literal("-0"), point, g_.optional(exponent)});
    g_.define(rule(number_, "json-number"), g_.choice({g_.sequence({begin, behind}), below_zero}));
  }
  return g_.reference(number_);
}

ExprId JsonGrammar::any_string() {
  if (string_ < 0) g_.define(rule(string_, "json-string"), quoted(g_.repeat(character(), 0, -1)));
  return g_.reference(string_);
}

ExprId JsonGrammar::any_value() {
  if (value_ < 0) {
    rule(value_, "json-value");
    g_.define(value_, g_.choice({g_.literal("null"), g_.literal("true"), g_.literal("false"), number(),
                                 any_string(), any_array(), any_object()}));
  }
  return g_.reference(value_);
}

ExprId JsonGrammar::any_array() {
  if (array_ < 0) {
    rule(array_, "json-array");
    const ExprId value = any_value();
    const ExprId more = g_.repeat(g_.sequence({comma(), value}), 0, -1);
    g_.define(array_, array(g_.sequence({value, more}), true));
  }
  return g_.reference(array_);
}

ExprId JsonGrammar::any_object() {
  if (object_ < 0) {
    rule(object_, "json-object");
    const ExprId member = g_.sequence({any_string(), colon(), any_value()});
    const ExprId more = g_.repeat(g_.sequence({comma(), member}), 0, -1);
    g_.define(object_, object(g_.sequence({member, more}), true));
  }
  return g_.reference(object_);
}

ExprId JsonGrammar::exact_string(std::string_view text) {
  std::string written = "\"";
  for (const char c : text) {
    if (const char* escape = short_escape(c)) {
      written += escape;
    } else if (static_cast<unsigned char>(c) <= kControls.last) {
      written += control_escape(static_cast<unsigned char>(c));
    } else {
      written += c;
    }
  }
  return g_.literal(written + "\"");
}

ExprId JsonGrammar::exact(const json::value& value) {
  std::vector<ExprId> parts;
  switch (value.kind()) {
    case json::kind::null:
      return g_.literal("null");
    case json::kind::bool_:
      return g_.literal(value.get_bool() ? "true" : "false");
    case json::kind::string:
      return exact_string({value.get_string().data(), value.get_string().size()});
    case json::kind::array:
      if (value.get_array().empty()) return g_.literal("[]");
      for (const json::value& element : value.get_array()) {
        if (!parts.empty()) parts.push_back(comma());
        parts.push_back(exact(element));
      }
      return array(g_.sequence(std::move(parts)), false);
    case json::kind::object:
      if (value.get_object().empty()) return g_.literal("{}");
      for (const auto& [key, member] : value.get_object()) {
        if (!parts.empty()) parts.push_back(comma());
        parts.insert(parts.end(), {exact_string({key.data(), key.size()}), colon(), exact(member)});
      }
      return object(g_.sequence(std::move(parts)), false);
    default:
      return g_.literal(number_text(value));
  }
}

Grammar json_object_grammar() {
  Grammar grammar;
  JsonGrammar text(grammar);
  grammar.set_root(text.any_object());
  return grammar;
}

}  // namespace chorus
