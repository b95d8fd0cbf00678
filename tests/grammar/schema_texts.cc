// Reads lines {"schema": ..., "seed": N, "count": N, "texts": [...]} and answers each with one line:
// {"made": [texts by random walks], "accepted": [which of "texts" the grammar holds], "rules", "exprs",
// "ms"}, or {"error": "..."} where the schema is refused.
#include <chrono>
#include <iostream>

#include "base/error.h"
#include "formats/json.h"
#include "grammar/grammar_test.h"
#include "grammar/sources.h"
#include "random_text.h"

namespace chorus {
namespace {

json::value answer(const json::object& question) {
  const auto begin = std::chrono::steady_clock::now();
  Grammar grammar;
  try {
    grammar = schema_grammar(question.at("schema"));
  } catch (const Error& error) {
    return json::object{{"error", error.what()}};
  }
  const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - begin;
  json::array made, accepted;
  RandomText random(grammar, question.at("seed").to_number<uint64_t>());
  for (auto i = question.at("count").to_number<int>(); i > 0; --i) {
    const std::string text = random.next();
    made.emplace_back(text);
    if (text.size() < 400 && !PlainMatcher(grammar).matches(text))
      return json::object{{"error", "not held: " + text}};
  }
  for (const json::value& text : question.at("texts").as_array())
    accepted.emplace_back(PlainMatcher(grammar).matches({text.as_string().data(), text.as_string().size()}));
  return json::object{{"made", std::move(made)},
                      {"accepted", std::move(accepted)},
                      {"rules", grammar.rules()},
                      {"exprs", grammar.exprs()},
                      {"ms", spent.count()}};
}

}  // namespace
}  // namespace chorus

int main() {
  std::string line;
  while (std::getline(std::cin, line))
    std::cout << boost::json::serialize(chorus::answer(boost::json::parse(line).as_object())) << std::endl;
}
