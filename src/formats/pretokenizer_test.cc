#include "formats/pretokenizer.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace chorus {
namespace {

std::vector<std::string> cut(PreTokenizer pre_tokenizer, std::string text) {
  Pieces pieces;
  pieces.text = std::move(text);
  pre_tokenize(pre_tokenizer, pieces);
  std::vector<std::string> out;
  for (const Span& span : pieces.spans) out.push_back(pieces.text.substr(span.begin, span.end - span.begin));
  return out;
}

std::vector<std::string> split(const char* regex, SplitBehavior behavior, const char* text,
                               bool invert = false) {
  PreTokenizer pre_tokenizer;
  pre_tokenizer.steps.emplace_back(SplitStep{Regex(regex, "t"), behavior, invert});
  return cut(std::move(pre_tokenizer), text);
}

std::string regex_error(std::string_view pattern) {
  try {
    const Regex regex(pattern, "t");
  } catch (const Error& e) {
    return e.what();
  }
  return "compiled";
}

using Words = std::vector<std::string>;

TEST(Split, Behaviors) {
  const char* text = "the-final--countdown";
  EXPECT_EQ(split("-", SplitBehavior::kRemoved, text), (Words{"the", "final", "countdown"}));
  EXPECT_EQ(split("-", SplitBehavior::kIsolated, text), (Words{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(split("-", SplitBehavior::kMergedWithPrevious, text),
            (Words{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(split("-", SplitBehavior::kMergedWithNext, text), (Words{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(split("-", SplitBehavior::kContiguous, text), (Words{"the", "-", "final", "--", "countdown"}));
  EXPECT_EQ(split("[^-]+", SplitBehavior::kRemoved, text, true), (Words{"the", "final", "countdown"}));
  EXPECT_EQ(split("x*", SplitBehavior::kIsolated, "axb"), (Words{"a", "x", "b"}));
}

TEST(Metaspace, PrependsAsItsSchemeSays) {
  const auto metaspace = [](PrependScheme scheme, bool split_words, const char* text) {
    PreTokenizer pre_tokenizer;
    pre_tokenizer.steps.emplace_back(MetaspaceStep{"\u2581", scheme, split_words});
    return cut(std::move(pre_tokenizer), text);
  };
  EXPECT_EQ(metaspace(PrependScheme::kAlways, true, "a  b"), (Words{"\u2581a", "\u2581", "\u2581b"}));
  EXPECT_EQ(metaspace(PrependScheme::kFirst, false, " a b"), (Words{"\u2581a\u2581b"}));
  EXPECT_EQ(metaspace(PrependScheme::kNever, false, "a b"), (Words{"a\u2581b"}));
}

TEST(Regex, RefusesWhatOnigurumaReadsOtherwise) {
  for (const char* pattern : {R"(\h)", R"(\bx)", "[a[b]]", "[a&&b]", "a{2}+", "(?m:.)", "(*FAIL)", R"(\K)",
                              R"(\R)", "(?", "a{", R"(\)", R"([\W])", "(?R)", "(?P<n>a)"}) {
    EXPECT_TRUE(regex_error(pattern).find("is not supported") != std::string::npos) << regex_error(pattern);
  }
  EXPECT_EQ(regex_error(std::string(1 << 17, 'a')), "t: a regular expression of 131072 bytes; at most 65536");
  EXPECT_TRUE(regex_error(std::string(60'000, '(')).starts_with("t: bad regular expression"));
  EXPECT_EQ(regex_error(R"((?i:'s)|\p{L}+|\x{41}+|a?+|[\]\[]|(?<!a)b(?=c))"), "compiled");
}

TEST(Regex, ReadsSpaceAndWordAsOniguruma) {
  EXPECT_EQ(split(R"(\s)", SplitBehavior::kRemoved, "a\u180Eb\u0085c\u3000d"), (Words{"a\u180Eb", "c", "d"}));
  EXPECT_EQ(split(R"(\w+)", SplitBehavior::kIsolated, "e\u0301_\u24B6\u00B2"),
            (Words{"e\u0301_\u24B6", "\u00B2"}));
}

// Backtracking that would not end is an Error of that text.
TEST(Regex, BoundsBacktracking) {
  EXPECT_THROW(
      split(R"((a|a)*(?=b))", SplitBehavior::kIsolated, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac"),
      Error);
}

// A group repeated a million times needs memory for each turn: an Error, never a stack overflow.
TEST(Regex, BoundsTheMemoryOfRepeatedGroups) {
  const std::string text(1'000'000, 'a');
  EXPECT_THROW(split("(?:a|b)+", SplitBehavior::kIsolated, text.c_str()), Error);
  EXPECT_EQ(split("(?:a|b)+", SplitBehavior::kIsolated, text.substr(0, 10'000).c_str()),
            Words{text.substr(0, 10'000)});
}

TEST(GgufPreTokenizer, ListsTheKnownOnes) {
  EXPECT_EQ(find_gguf_pre_tokenizer("smollm", "f").splits.size(), 2u);
  EXPECT_TRUE(find_gguf_pre_tokenizer("llama-bpe", "f").ignore_merges);
  EXPECT_TRUE(find_gguf_pre_tokenizer("qwen2", "f").nfc);
  try {
    find_gguf_pre_tokenizer("qwen9", "f");
    FAIL();
  } catch (const Error& e) {
    EXPECT_TRUE(std::string_view(e.what()).starts_with("f: unknown pre-tokenizer 'qwen9'; known: gpt-2, "));
  }
}

TEST(GgufPreTokenizer, EveryOneCutsAllOfTheText) {
  const std::string text = "The 1234 caf\u00E9s, it'S \r\n\n  \u4E2D\u6587 \u0301x \u0E01\u0E31 --> $5\t\t";
  for (const char* name : {"gpt-2", "smollm", "llama-bpe", "qwen2", "qwen35", "gpt-4o", "tekken",
                           "deepseek-llm", "deepseek-coder", "deepseek-v3", "default"}) {
    PreTokenizer pre_tokenizer;
    for (SplitStep& step : find_gguf_pre_tokenizer(name, "f").splits)
      pre_tokenizer.steps.emplace_back(std::move(step));
    std::string joined;
    for (const std::string& word : cut(std::move(pre_tokenizer), text)) joined += word;
    EXPECT_EQ(joined, text) << name;
  }
}

}  // namespace
}  // namespace chorus
