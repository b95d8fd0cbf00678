// What grammars cost at a real vocabulary: compiling, and the mask of a state met for the first time, with
// and without what the states before it have in common with it.
//   grammar_bench MODEL.gguf

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <vector>

#include "formats/gguf.h"
#include "formats/tokenizer.h"
#include "grammar/automaton.h"
#include "grammar/constraint.h"
#include "grammar/sources.h"

namespace chorus {
namespace {

using Clock = std::chrono::steady_clock;

double microseconds(Clock::time_point since) {
  return std::chrono::duration<double, std::micro>(Clock::now() - since).count();
}

constexpr std::string_view kJson = R"(
root   ::= value
value  ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ( string ":" value ( "," string ":" value )* )? "}"
array  ::= "[" ( value ("," value)* )? "]"
string ::= "\"" ( [^"\\\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}) )* "\""
number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)? ([eE] [-+]? [0-9]+)?
)";

struct Case {
  std::string_view name;
  Grammar grammar;
  std::string text;  // an answer
};

std::vector<Case> cases() {
  std::vector<std::string> choices;
  for (int i = 0; i < 1000; ++i)
    choices.push_back(fmt::format("choice number {} of many", i * 7919 % 100003));
  return {{"JSON", parse_gbnf(kJson), R"({"name":"Ada Lovelace","born":1815,"tags":["first","programmer"]})"},
          {"e-mail", parse_regex(R"([A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24})"),
           "ada.lovelace@analytical-engine.example.org"},
          {"string of 2000", parse_regex(R"("[^"\\]{0,2000}")"),
           "\"The old keeper climbed the stairs of the tower.\""},
          {"1,000 choices", choice_grammar(choices), choices[500]}};
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  return values[values.size() / 2];
}

void measure(const Case& test, const Tokenizer& tokenizer, const TokenTrie& trie) {
  ConstraintCompiler compiler(tokenizer, tokenizer.stop_ids(), [] {});
  auto begin = Clock::now();
  compiler.compile("key", [&] { return test.grammar; });
  const double compile = microseconds(begin);
  begin = Clock::now();
  const ConstraintHandle handle = compiler.compile("key", [&] { return test.grammar; });
  const double cached = microseconds(begin);

  // One thread, no work ahead: what each mask costs the builder.
  WorkBudget budget(1'000'000'000);
  const Program program = lower(test.grammar, trie.usable(), size_t{64} << 20, budget);
  Automaton automaton(program, trie, tokenizer.stop_ids());
  GrammarState* state = automaton.start(budget);
  std::vector<double> first, known;
  const auto build = [&] {
    begin = Clock::now();
    automaton.build_mask(state, budget);
    first.push_back(microseconds(begin));
  };
  build();
  const std::vector<int32_t> ids =
      tokenizer.encode(test.text, {.add_special = false, .parse_special = false});
  for (const int32_t id : ids) {
    for (const char byte : trie.text(id)) state = automaton.step(state, static_cast<uint8_t>(byte), budget);
    build();
  }
  // The same answer again, as the engine's thread takes it.
  ConstraintState answer(handle);
  int waits = 0;
  for (int round = 0; round < 2; ++round) {
    answer = ConstraintState(handle);
    waits = 0;
    for (const int32_t id : ids) {
      begin = Clock::now();
      answer.advance(id);
      if (round == 1) known.push_back(microseconds(begin));
      waits += answer.ready() ? 0 : 1;
      while (!answer.ready()) continue;
    }
  }
  fmt::print(
      "{:16} compile {:7.0f} us  cached {:4.1f} us  | {} masks: first {:6.0f}  median {:6.1f}  most {:6.0f} "
      "us"
      "  | advance again {:5.2f} us, {} waits | {} KiB\n",
      test.name, compile, cached, first.size(), first[0], median(first), *std::ranges::max_element(first),
      median(known), waits, (program.bytes() + automaton.bytes()) >> 10);
}

}  // namespace
}  // namespace chorus

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "grammar_bench MODEL.gguf\n");
    return 2;
  }
  using namespace chorus;
  const Tokenizer tokenizer = Tokenizer::from_gguf(GgufFile::open(argv[1]));
  const auto begin = Clock::now();
  const TokenTrie trie(tokenizer, tokenizer.stop_ids());
  fmt::print("{} tokens, {} places, longest {} bytes, made in {:.1f} ms\n", tokenizer.vocab_size(),
             trie.places().size(), trie.max_depth(), microseconds(begin) / 1000);
  for (const Case& test : cases()) measure(test, tokenizer, trie);
  return 0;
}
