#include "grammar/constraint.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "base/error.h"
#include "base/utf8.h"
#include "formats/tokenizer_golden.h"
#include "grammar/grammar_test.h"
#include "grammar/sources.h"

namespace chorus {
namespace {

constexpr int kTestSeed = 7;

struct Fixture {
  explicit Fixture(const std::string& style, ConstraintLimits limits = generous())
      : tokenizer(load_golden(style)),
        compiler(
            tokenizer, stops(), [this] { ++wakes; }, limits) {}

  // Sanitizers make everything slower.
  static ConstraintLimits generous() { return {.compile_time = std::chrono::seconds(20)}; }
  std::vector<int32_t> stops() const { return tokenizer.stop_ids(); }
  ConstraintHandle compile(const Grammar& grammar) {
    return compiler.compile("test " + std::to_string(++keys), [&] { return grammar; });
  }

  // A token with which the text may go on, drawn from those that fit whole.
  int32_t random_token(std::string_view text, std::mt19937& random) const {
    std::vector<int32_t> fitting;
    for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
      const std::string bytes = tokenizer.token_bytes(id);
      if (!bytes.empty() && !tokenizer.is_special(id) && text.starts_with(bytes)) fitting.push_back(id);
    }
    return fitting.empty() ? -1 : fitting[random() % fitting.size()];
  }

  // Takes the text, in tokens drawn at random. False: a token was not allowed, or the end.
  bool accepts(const ConstraintHandle& constraint, std::string_view text, std::mt19937& random) const {
    ConstraintState state(constraint);
    while (!text.empty()) {
      const int32_t token = random_token(text, random);
      EXPECT_GE(token, 0) << "no token for " << text;
      if (token < 0 || !wait_ready(state) || state.failed() || !allowed(state.mask(), token)) return false;
      state.advance(token);
      text.remove_prefix(tokenizer.token_bytes(token).size());
    }
    return wait_ready(state) && !state.failed() && allowed(state.mask(), stops()[0]);
  }

  Tokenizer tokenizer;
  std::atomic<int> wakes{0};
  std::atomic<int> keys{0};
  ConstraintCompiler compiler;
};

struct Case {
  Grammar grammar;
  std::vector<std::string> right, wrong;
};

Case regex_case(std::string_view pattern, std::vector<std::string> right, std::vector<std::string> wrong) {
  return {parse_regex(pattern), std::move(right), std::move(wrong)};
}

constexpr std::string_view kJson = R"(
# any JSON value
root   ::= value
value  ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ( string ":" value ( "," string ":" value )* )? "}"
array  ::= "[" ( value ("," value)* )? "]"
string ::= "\"" ( [^"\\\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}) )* "\""
number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)? ([eE] [-+]? [0-9]+)?
)";

std::vector<Case> cases() {
  std::vector<Case> all;
  all.push_back(regex_case("a+b?", {"a", "aab", "aaaa"}, {"", "b", "abb", "ba"}));
  all.push_back(regex_case("^(foo|ba[rz])$", {"foo", "bar", "baz"}, {"fo", "foobar", "bax"}));
  all.push_back(regex_case("(a+)+$", {"a", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}, {"", "ab"}));
  all.push_back(regex_case("(a|aa){2,5}", {"aa", "aaaaa", "aaaaaaaaaa"}, {"a", "aaaaaaaaaaa"}));
  all.push_back(
      regex_case("(a?b?){0,3}", {"", "ab", "ababab", "bbb", "aab"}, {"ababa b", "bbbb", "abababa"}));
  all.push_back(regex_case("[a-z]{2,200}", {"ab", std::string(200, 'q'), std::string(199, 'z')},
                           {"a", std::string(201, 'q'), "aB"}));
  const std::string words =
      "the old keeper climbed the stairs of the tower every evening and wrote down what he saw there";
  all.push_back(regex_case("[a-z ]{85,91}", {words.substr(0, 85), words.substr(0, 91)},
                           {words.substr(0, 84), words.substr(0, 92)}));
  all.push_back(regex_case("x{100}", {std::string(100, 'x')}, {std::string(99, 'x'), std::string(101, 'x')}));
  all.push_back(regex_case("(ab){3,}", {"ababab", "abababababab"}, {"abab", "abababa"}));
  all.push_back(regex_case("[^a-z]*", {"", "ÄÖ€😀 12"}, {"a", "12b"}));
  all.push_back(regex_case(R"([\u00e4-\u00fc]+\u{1F600}?)", {"äöü", "ä😀"}, {"😀", "a", "ß"}));
  all.push_back(regex_case(R"(\d{3}-\d{4})", {"555-1234"}, {"5555-123", "555-123"}));
  all.push_back(regex_case(R"([\w.+-]+@[\w-]+(\.[\w-]+)+)", {"a@b.c", "x.y+z@mail.example.org"},
                           {"@b.c", "a@b", "a@b."}));
  all.push_back(regex_case(R"(\p{Lu}\p{Ll}*)", {"Ärger", "X", "Hello"}, {"hello", "ÄÖ"}));
  all.push_back(regex_case("a{|}b", {"a{", "}b"}, {"a", "b"}));
  all.push_back({parse_gbnf(kJson),
                 {"{}", R"({"a":[1,2,{"b":null}],"c":"x\n\u00e9 é"})", "[[[[[[]]]]]]", "-1.5e+10", "\"ä😀\""},
                 {"{", R"({"a":})", "[1,]", "01", "\"\n\"", "[[]", "nul"}});
  all.push_back(
      {parse_gbnf("root ::= (\"a\" | \"b\" root \"c\")\n"), {"a", "bac", "bbbaccc"}, {"ba", "bacc", "c"}});
  all.push_back({parse_gbnf("root ::= item{2,3} # two or three\nitem ::= [0-9]+ \"\\n\"\n| \"x\" "),
                 {"12\n3\n", "x1\nx", "xx"},
                 {"1\n", "xxxx", "12"}});
  all.push_back({parse_gbnf("root ::= ((\"a\"*)*)* .{1}"), {"a", "aaaa", "aab", "\n"}, {"", "ba"}});
  all.push_back({choice_grammar({"yes", "no", "yes, but later", "", "n"}),
                 {"yes", "no", "n", "", "yes, but later"},
                 {"ye", "yes,", "noo"}});
  return all;
}

class ConstraintStyles : public testing::TestWithParam<const char*> {};

TEST_P(ConstraintStyles, TakeEveryTokenizationOfWhatTheGrammarHoldsAndNothingElse) {
  Fixture fixture(GetParam());
  std::mt19937 random(kTestSeed);
  for (const Case& test : cases()) {
    const ConstraintHandle constraint = fixture.compile(test.grammar);
    PlainMatcher matcher(test.grammar);
    for (int round = 0; round < 3; ++round) {
      for (const std::string& text : test.right) {
        ASSERT_TRUE(matcher.matches(text)) << text;
        EXPECT_TRUE(fixture.accepts(constraint, text, random)) << text;
      }
      for (const std::string& text : test.wrong) {
        ASSERT_FALSE(matcher.matches(text)) << text;
        EXPECT_FALSE(fixture.accepts(constraint, text, random)) << text;
      }
    }
  }
}

// Any way through the masks gives a text of the grammar; the end comes by drawing stop ids more and more.
TEST_P(ConstraintStyles, EveryWalkThroughTheMasksEndsInATextOfTheGrammar) {
  Fixture fixture(GetParam());
  std::mt19937 random(kTestSeed);
  int ended = 0;
  for (const Case& test : cases()) {
    const ConstraintHandle constraint = fixture.compile(test.grammar);
    PlainMatcher matcher(test.grammar);
    for (int walk = 0; walk < 12; ++walk) {
      ConstraintState state(constraint);
      std::string text;
      for (int step = 0; step < 60; ++step) {
        ASSERT_TRUE(wait_ready(state));
        ASSERT_FALSE(state.failed()) << state.error();
        std::vector<int32_t> tokens;
        for (int32_t id = 0; id < fixture.tokenizer.vocab_size(); ++id) {
          if (allowed(state.mask(), id)) tokens.push_back(id);
        }
        ASSERT_FALSE(tokens.empty());
        const bool may_end = allowed(state.mask(), fixture.stops()[0]);
        ASSERT_EQ(state.must_end(), may_end && tokens.size() == fixture.stops().size());
        const int32_t token =
            may_end && random() % 8 == 0 ? fixture.stops()[0] : tokens[random() % tokens.size()];
        if (state.is_stop(token)) {
          EXPECT_TRUE(matcher.matches(text)) << text;
          ++ended;
          break;
        }
        ASSERT_FALSE(fixture.tokenizer.is_special(token));
        text += fixture.tokenizer.token_bytes(token);
        state.advance(token);
      }
    }
  }
  EXPECT_GT(ended, 60);
}

// The mask is the truth: a token is in it if and only if the text with it can be continued to one of the
// grammar. For literals that is easy to say.
TEST_P(ConstraintStyles, AMaskHoldsExactlyTheTokensThatCanGoOn) {
  Fixture fixture(GetParam());
  const std::vector<std::string> choices = {"the cat", "the dog", "then", "ä€😀", "a"};
  const ConstraintHandle constraint = fixture.compile(choice_grammar(choices));
  const ConstraintState state(constraint);
  for (int32_t id = 0; id < fixture.tokenizer.vocab_size(); ++id) {
    const std::string bytes = fixture.tokenizer.token_bytes(id);
    const bool fits =
        !fixture.tokenizer.is_special(id) && !bytes.empty() &&
        std::ranges::any_of(choices, [&](const auto& choice) { return choice.starts_with(bytes); });
    EXPECT_EQ(allowed(state.mask(), id), fits) << id;
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, ConstraintStyles, testing::Values("smollm", "llama2"));

std::string compile_error(Fixture& fixture, const std::function<Grammar()>& make) {
  static std::atomic<int> keys{0};
  try {
    fixture.compiler.compile("error " + std::to_string(++keys), make);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::string repeated(std::string_view text, int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += text;
  return all;
}

TEST(Constraint, RefusesGrammarsThatCannotWork) {
  Fixture fixture("smollm");
  const auto error = [&](std::string_view text) {
    return compile_error(fixture, [&] { return parse_gbnf(text); });
  };
  EXPECT_NE(error("root ::= root \"a\" | \"b\"").find("\"root\" is left-recursive"), std::string::npos);
  EXPECT_NE(error("root ::= a\na ::= b? a2\na2 ::= a \"x\" | \"y\"\nb ::= \"b\"").find("left-recursive"),
            std::string::npos);
  EXPECT_NE(error("root ::= (x | \"\"){0,5} \"z\"\nx ::= root \"y\"").find("left-recursive"),
            std::string::npos);
  EXPECT_NE(error("root ::= \"a\" root").find("rule \"root\" can only recurse"), std::string::npos);
  EXPECT_NE(error("root ::= \"a\" | x\nx ::= \"b\" x").find("rule \"x\" can only recurse"),
            std::string::npos);
  EXPECT_NE(error("root ::= missing").find("rule \"missing\" is not defined"), std::string::npos);
  EXPECT_NE(error("start ::= \"a\"").find("no rule \"root\""), std::string::npos);
  EXPECT_NE(compile_error(fixture, [] { return parse_regex("a[]"); }).find("no text matches"),
            std::string::npos);
  EXPECT_EQ(error("root ::= \"a\" root | \"b\""), "");
}

// Each must end soon, whichever way: refused, or compiled and good for some tokens.
TEST(Constraint, HostileGrammarsAreBounded) {
  Fixture fixture("smollm", {.compile_time = std::chrono::milliseconds(200)});
  std::string chain = "root ::= r0\n", choices = "root ::= \"a\"";
  for (int i = 0; i < 5000; ++i)
    chain += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + " | \"x\"\n";
  chain += "r5000 ::= \"y\"\n";
  for (int i = 0; i < 10'000; ++i) choices += " | [a-z] \"" + std::to_string(i) + "\"";
  const std::vector<std::string> gbnfs = {
      "root ::= " + repeated("(", 60'000),
      "root ::= " + repeated("(\"a\" ", 60) + repeated(")*", 60),
      "root ::= " + repeated("(", 60) + "\"a\"" + repeated("){0,2000000000}", 60),
      "root ::= \"a\"" + repeated("*", 60'000),
      "root ::= .{0,2000000000}",
      "root ::= .{2000000000}",
      "root ::= (\"a\"? \"b\"?){0,2000000000}",
      "root ::= ((\"a\" | \"aa\"){0,3000}){0,3000}",
      "root ::= " + repeated("[", 60'000),
      "root ::= \"" + repeated("a", 100'000) + "\"",
      "root ::= (\"a\"*)* root?",
      "root ::= a a a a a a a a a a a a a a a a\n" +
          std::string("a ::= b b b b b b b b b b b b\nb ::= \"\" | \"x\""),
      chain,
      choices,
      repeated("root ::= ", 10'000),
  };
  const std::vector<std::string> regexes = {repeated("(", 60'000),
                                            repeated("(", 64) + repeated(")+", 64),
                                            "(a+)+$",
                                            "(a*)*b",
                                            "((a+)+)+$",
                                            repeated("(a|aa|aaa)*", 100),
                                            "a{0,2000000000}",
                                            "(.{0,9999}x){0,9999}y",
                                            "(x+x+)+y",
                                            repeated("\\p{L}", 10'000),
                                            repeated("a?", 5'000) + repeated("a", 5'000),
                                            "(a|b)*a(a|b){30}",
                                            "[",
                                            "a**",
                                            "(?=a)"};
  const auto attempt = [&](const std::function<Grammar()>& make, const std::string& what) {
    const auto begin = std::chrono::steady_clock::now();
    try {
      ConstraintState state(fixture.compiler.compile(what, make));
      std::mt19937 random(kTestSeed);
      for (int step = 0; step < 16; ++step) {
        ASSERT_TRUE(wait_ready(state));
        if (state.failed()) break;
        std::vector<int32_t> tokens;
        for (int32_t id = 0; id < fixture.tokenizer.vocab_size(); ++id) {
          if (allowed(state.mask(), id) && !state.is_stop(id)) tokens.push_back(id);
        }
        if (tokens.empty()) break;
        state.advance(tokens[random() % tokens.size()]);
      }
    } catch (const Error& error) {
      EXPECT_EQ(std::string_view(error.what()).find('\n'), std::string_view::npos);
    }
    const auto took = std::chrono::steady_clock::now() - begin;
    EXPECT_LT(took, std::chrono::seconds(5)) << what.substr(0, 60);
  };
  for (const std::string& text : gbnfs) attempt([&] { return parse_gbnf(text); }, text);
  for (const std::string& text : regexes) attempt([&] { return parse_regex(text); }, "regex " + text);
}

TEST(Constraint, RecompilesNothingThatIsInTheCache) {
  Fixture fixture("smollm");
  int made = 0;
  const auto make = [&] {
    ++made;
    return parse_regex("abc");
  };
  const ConstraintHandle first = fixture.compiler.compile("key", make);
  EXPECT_EQ(fixture.compiler.compile("key", make), first);
  EXPECT_EQ(made, 1);
  EXPECT_NE(fixture.compiler.compile("other", make), first);
}

TEST(Constraint, TheCacheIsBoundedInBytes) {
  ConstraintLimits limits = Fixture::generous();
  limits.cache_bytes = 1 << 20;
  Fixture fixture("smollm", limits);
  int made = 0;
  const auto compile = [&](int i) {
    const std::string text = "x{" + std::to_string(i) + "}[a-z]+" + std::string(1000, 'q');
    return fixture.compiler.compile(text, [&] {
      ++made;
      return parse_regex(text);
    });
  };
  std::weak_ptr<const Constraint> first = compile(0);
  for (int i = 1; i < 60; ++i) compile(i);
  EXPECT_TRUE(first.expired());
  compile(0);
  EXPECT_EQ(made, 61);
}

// With room for few states the automaton begins anew again and again; nobody notices.
TEST(Constraint, MovesOverWhenTheStatesPassTheirBound) {
  ConstraintLimits limits = Fixture::generous();
  limits.states = 8;
  Fixture fixture("smollm", limits);
  std::mt19937 random(kTestSeed);
  const ConstraintHandle constraint = fixture.compile(parse_regex("([a-z]{50}[0-9]{3}){2,9}"));
  std::string text;
  for (int i = 0; i < 8; ++i) text += std::string(50, static_cast<char>('a' + i)) + "123";
  for (int round = 0; round < 4; ++round) {
    EXPECT_TRUE(fixture.accepts(constraint, text, random));
    EXPECT_FALSE(fixture.accepts(constraint, text + "4", random));
  }
}

TEST(Constraint, ThreadsShareOne) {
  Fixture fixture("smollm");
  const ConstraintHandle constraint = fixture.compile(parse_gbnf(kJson));
  std::vector<std::future<bool>> threads;
  for (unsigned i = 0; i < 4; ++i) {
    threads.push_back(std::async(std::launch::async, [&, i] {
      std::mt19937 random(i);
      bool all = true;
      for (int round = 0; round < 5; ++round) {
        all =
            all && fixture.accepts(constraint,
                                   R"({"name":"Ada","tags":["x","y",[1,2.5e3]],"more":{"k":null}})", random);
        all = all && !fixture.accepts(constraint, R"({"name":"Ada",})", random);
      }
      return all;
    }));
  }
  for (auto& thread : threads) EXPECT_TRUE(thread.get());
  EXPECT_GT(fixture.wakes.load(), 0);
}

TEST(Constraint, AnswersMayGoWhileTheirStatesAreWorkedOut) {
  Fixture fixture("smollm");
  std::mt19937 random(kTestSeed);
  const ConstraintHandle constraint = fixture.compile(parse_regex("([a-z]+ ?){3,900}"));
  for (int i = 0; i < 200; ++i) {
    ConstraintState state(constraint);
    ASSERT_TRUE(state.ready());
    state.advance(fixture.random_token("word", random));
  }
}

TEST(Constraint, ASharedExpressionUnfoldsOnlyOnce) {
  Fixture fixture("smollm");
  Grammar grammar;
  ExprId level = grammar.literal("c");
  const ExprId open = grammar.literal("("), close = grammar.literal(")"), leaf = grammar.literal("c");
  for (int i = 0; i < 60; ++i) {
    const std::vector<ExprId> pair = {open, level, level, close};
    level = grammar.choice({grammar.sequence(pair), leaf});
  }
  grammar.set_root(level);
  std::mt19937 random(kTestSeed);
  EXPECT_TRUE(fixture.accepts(fixture.compile(grammar), "(c((cc)c))", random));
}

}  // namespace
}  // namespace chorus
