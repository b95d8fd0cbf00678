#include "grammar/sources.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/utf8.h"
#include "grammar/grammar_test.h"
#include "grammar/utf8_ranges.h"

namespace chorus {
namespace {

bool matches(std::string_view pattern, std::string_view text) {
  const Grammar grammar = parse_regex(pattern);
  return PlainMatcher(grammar).matches(text);
}

bool found(std::string_view pattern, std::string_view text) {
  Grammar grammar;
  const CharacterExpr character = [](Grammar& g, std::vector<CodepointRange> set) {
    return g.char_class(std::move(set));
  };
  grammar.set_root(add_regex(grammar, pattern, character, true, character));
  return PlainMatcher(grammar).matches(text);
}

std::string regex_error(std::string_view pattern) {
  try {
    parse_regex(pattern);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::string gbnf_error(std::string_view text) {
  try {
    parse_gbnf(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Regex, Escapes) {
  EXPECT_TRUE(matches(R"(\t\n\v\f\r\0\x41\u0042\u{43}\cJ)", std::string_view("\t\n\v\f\r\0ABC\n", 10)));
  EXPECT_TRUE(matches(R"(\ud83d\ude00)", "😀"));
  EXPECT_TRUE(matches(R"([\b\-\]\\])", "]"));
  EXPECT_TRUE(matches(R"(\.\*\/\$\^)", ".*/$^"));
  EXPECT_TRUE(matches(R"([^\d\s])", "x"));
  EXPECT_FALSE(matches(R"([^\d\s])", "5"));
  EXPECT_TRUE(matches(R"([\w-.])", "-"));
  EXPECT_TRUE(matches(R"(\S\D\W)", "aa-"));
  EXPECT_FALSE(matches(".", "\n"));
  EXPECT_TRUE(matches("[^]", "\n"));
  EXPECT_TRUE(matches(R"(\p{gc=Nd}\P{L}\p{Letter})", "3-z"));
}

TEST(Regex, GroupsAndQuantifiers) {
  EXPECT_TRUE(matches("(?:a|b)+?(?<year>c)??", "abab"));
  EXPECT_TRUE(matches("a{2}b{1,}c{0,1}", "aabbb"));
  EXPECT_FALSE(matches("a{2}", "aaa"));
  EXPECT_TRUE(matches("a{,3}", "a{,3}"));
  EXPECT_TRUE(matches("|a", ""));
  EXPECT_TRUE(matches("(^a$|^b$)", "b"));
}

TEST(Regex, SearchIsHeldOnlyByItsAnchors) {
  EXPECT_TRUE(found("b", "abc"));
  EXPECT_TRUE(found("^a", "abc"));
  EXPECT_FALSE(found("^b", "abc"));
  EXPECT_TRUE(found("c$", "abc"));
  EXPECT_FALSE(found("^a|b$", "cba"));
  EXPECT_TRUE(found("^a|b$", "ccb"));
  EXPECT_TRUE(found("", "anything"));
}

TEST(Regex, ErrorsNameThePlace) {
  EXPECT_EQ(regex_error("ab(c"), "regex, line 1, column 3: this group has no \")\"");
  EXPECT_EQ(regex_error("ä*+"), "regex, line 1, column 3: nothing to repeat");
  for (const char* pattern : {"a)",
                              "[a",
                              "[z-a]",
                              "a**",
                              "+a",
                              "{3}",
                              "(?=a)",
                              "(?<!a)",
                              "(?i)a",
                              R"(\1)",
                              R"(\k<a>)",
                              R"(a\b)",
                              R"(\y)",
                              R"(\p{Greek})",
                              R"(\u12)",
                              R"(\ud800)",
                              R"(\u{110000})",
                              "a$b",
                              "a^b",
                              "(^a)b",
                              "a{3,2}",
                              "a{2000000001}",
                              R"(\)",
                              "[\\d-a-\\d]",
                              "(?<n",
                              R"(\c1)"}) {
    EXPECT_TRUE(regex_error(pattern).starts_with("regex, line 1, column "))
        << pattern << ": " << regex_error(pattern);
  }
  EXPECT_TRUE(regex_error("\xff").ends_with("not valid UTF-8"));
}

TEST(Gbnf, ReadsWhatLlamaCppReads) {
  const Grammar grammar = parse_gbnf(
      "# comment\nroot ::= greeting \" \" name{1,2} [^\\]a-c\\x41] . \"\\u00e9\\U0001F600\"?\n\n"
      "greeting ::= (\"hi\" | # one\n  \"hello\")\nname ::= [A-Z] [a-z-]*\n");
  PlainMatcher matcher(grammar);
  EXPECT_TRUE(matcher.matches("hi Ada!\n"));
  EXPECT_TRUE(matcher.matches("hello AdaBob-x.?é😀"));
  EXPECT_FALSE(matcher.matches("hello AdaBob]x"));
}

TEST(Gbnf, ErrorsNameThePlace) {
  EXPECT_EQ(gbnf_error("root ::= \"a\n"), "grammar, line 1, column 10: this literal has no closing quote");
  EXPECT_EQ(gbnf_error("root ::= x\n"), "grammar, line 1, column 10: rule \"x\" is not defined");
  for (const char* text :
       {"root", "root = \"a\"", "root ::= (", "root ::= )", "root ::= \"a\" )", "root ::= [a", "root ::= *",
        "root ::= \"a\"{2", "root ::= \"a\"{3,2}", "root ::= \"\\q\"", "root ::= \"a\"\nroot ::= \"b\"",
        "root ::= <think>", "root ::= (\"a\"\nb ::= \"c\"", "root ::= \"\\uD800\"", "root ::= [z-a]",
        "root ::= \"a\"{x}"}) {
    EXPECT_TRUE(gbnf_error(text).starts_with("grammar, line ")) << text << ": " << gbnf_error(text);
  }
  EXPECT_EQ(gbnf_error(""), "grammar: there is no rule \"root\", which is the start");
  std::string many;
  for (int i = 0; i <= 10'000; ++i) many += "r" + std::to_string(i) + " ::= \"a\"\n";
  EXPECT_NE(gbnf_error(many).find("more than 10000 rules"), std::string::npos);
}

TEST(Choice, NeedsOne) { EXPECT_THROW(choice_grammar({}), Error); }

// Every code point's form is in exactly one piece if it is in the set, else in none.
TEST(Utf8Ranges, HoldExactlyTheForms) {
  const std::vector<std::vector<CodepointRange>> sets = {
      {{0, 0x10FFFF}},
      {{0x41, 0x41}, {0x7F, 0x81}},
      {{0x7FF, 0x1234}, {0xFFFF, 0x10000}, {0x10FFFE, 0x10FFFF}},
      {{0x1235, 0xABCD}}};
  for (const auto& set : sets) {
    std::vector<CodepointRange> clean;
    Grammar grammar;
    clean = grammar.expr(grammar.char_class(set)).ranges;
    const std::vector<ByteRanges> pieces = utf8_ranges(clean);
    for (uint32_t c = 0; c <= 0x10FFFF; c += c > 0x3000 && c < 0xFF00 ? 7 : 1) {
      if (c >= 0xD800 && c <= 0xDFFF) continue;
      std::string bytes;
      append_utf8(bytes, c);
      int holding = 0;
      for (const ByteRanges& piece : pieces) {
        bool holds = static_cast<size_t>(piece.size) == bytes.size();
        for (size_t i = 0; holds && i < bytes.size(); ++i) {
          const auto byte = static_cast<uint8_t>(bytes[i]);
          holds = byte >= piece.bytes[i].low && byte <= piece.bytes[i].high;
        }
        holding += holds ? 1 : 0;
      }
      const bool wanted =
          std::ranges::any_of(clean, [c](const CodepointRange& r) { return c >= r.first && c <= r.last; });
      ASSERT_EQ(holding, wanted ? 1 : 0) << c;
    }
  }
}

}  // namespace
}  // namespace chorus
