// Constrained answers through the engine: the same tokens alone, in any batch and after preemption; only what
// the grammar holds; and nobody waits for a mask but who needs it.

#include <gtest/gtest.h>

#include <atomic>

#include "engine/engine_test_harness.h"
#include "formats/tokenizer_golden.h"
#include "grammar/grammar_test.h"
#include "grammar/sources.h"

namespace chorus {
namespace {

constexpr std::string_view kJson = R"(
root   ::= "{" ( string ":" value ( "," string ":" value )* )? "}"
value  ::= root | "[" ( value ("," value)* )? "]" | string | "-"? ("0" | [1-9] [0-9]{0,5}) | "true" | "null"
string ::= "\"" [^"\\\x00-\x1F]{0,12} "\""
)";

EngineConfig config_for(const Tokenizer& tokenizer, int pages) {
  EngineConfig config = small_config();
  config.vocab = tokenizer.vocab_size();
  config.pages = pages;
  return config;
}

struct Constrained {
  explicit Constrained(int pages) : harness(config_for(tokenizer, pages)) {}

  ConstraintHandle compile(const std::string& key, Grammar grammar) {
    return compiler.compile(key, [&] { return grammar; });
  }
  void drain() {
    for (int i = 0; !harness.engine.idle(); ++i) {
      ASSERT_LT(i, 100000) << "does not end";
      harness.step();
      if (harness.engine.idle()) break;
      const auto begin = std::chrono::steady_clock::now();
      harness.engine.wait(std::chrono::seconds(20));
      ASSERT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10)) << "nobody nudged";
    }
    EXPECT_EQ(harness.engine.stats().pages_used, 0);
  }

  Tokenizer tokenizer = load_golden("smollm");
  Harness harness;
  ConstraintCompiler compiler{tokenizer,
                              tokenizer.stop_ids(),
                              [this] { harness.engine.nudge(); },
                              {.compile_time = std::chrono::seconds(20)}};
};

TEST(EngineConstraint, TokensAreTheSameAloneAndInABatchAndAfterPreemption) {
  Constrained all(14);
  RequestMaker maker(11);
  const std::vector<ConstraintHandle> constraints = {
      all.compile("json", parse_gbnf(kJson)), all.compile("list", parse_regex("([a-z]{2,9}[ ,.]){1,20}")),
      all.compile("choice", choice_grammar({"yes", "no", "yes, of course"})), nullptr};
  for (int i = 0; i < 200; ++i) {
    Request request = maker.make();
    request.constraint = constraints[static_cast<size_t>(maker.below(4))];
    if (request.constraint != nullptr) request.ignore_stop_ids = false;
    all.harness.submit(request);
  }
  all.drain();
  all.harness.check_all();
  EXPECT_GT(all.harness.engine.stats().preemptions, 0u);
}

TEST(EngineConstraint, WhatEndsByItselfIsOfTheGrammar) {
  Constrained all(64);
  const Grammar json_grammar = parse_gbnf(kJson);
  const ConstraintHandle json = all.compile("json", json_grammar);
  const ConstraintHandle choice = all.compile("choice", choice_grammar({"yes", "no"}));
  for (int i = 0; i < 40; ++i) {
    Request request;
    request.prompt = {1, i};
    request.constraint = i % 2 == 0 ? json : choice;
    request.max_tokens = 100;
    request.min_tokens = i % 3 == 0 ? 90 : 0;  // the grammar's end comes before it
    request.sampling.seed = static_cast<uint64_t>(i);
    request.sampling.temperature = i % 5 == 0 ? 0.0f : 1.0f;
    request.sampling.top_k = i % 7 == 0 ? 5 : 0;
    request.sampling.top_p = i % 4 == 0 ? 0.9f : 1.0f;
    request.sampling.min_p = i % 6 == 0 ? 0.1f : 0.0f;
    all.harness.submit(request);
  }
  all.drain();
  int ended = 0;
  for (const auto& [id, request] : all.harness.requests) {
    const Output& output = all.harness.output(id);
    ASSERT_NE(output.finish, FinishReason::kError) << output.error;
    if (output.finish != FinishReason::kStop) continue;
    ++ended;
    const std::string text = all.tokenizer.decode(output.tokens);
    if (request.constraint == choice) {
      EXPECT_TRUE(text == "yes" || text == "no") << text;
    } else {
      EXPECT_TRUE(PlainMatcher(json_grammar).matches(text)) << text;
    }
  }
  EXPECT_GE(ended, 20);
}

TEST(EngineConstraint, AnAnswerWhoseGrammarGrowsTooAmbiguousEndsAlone) {
  Constrained all(64);
  Request bad, good;
  bad.prompt = good.prompt = {1, 2, 3};
  bad.max_tokens = good.max_tokens = 60;
  bad.constraint = all.compile("bad", parse_regex("[a-z]{60}((x|xx){0,3000}){0,3000}y"));
  good.constraint = all.compile("good", parse_regex("[a-z]{100}"));
  const uint64_t bad_id = all.harness.submit(bad), good_id = all.harness.submit(good);
  all.drain();
  EXPECT_EQ(all.harness.output(bad_id).finish, FinishReason::kError);
  EXPECT_NE(all.harness.output(bad_id).error.find("too ambiguous"), std::string::npos);
  EXPECT_NE(all.harness.output(good_id).finish, FinishReason::kError);
}

TEST(EngineConstraint, LogprobsAreThoseOfTheModelBeforeTheMask) {
  Constrained all(64);
  Request request;
  request.prompt = {5, 6};
  request.max_tokens = 1;
  request.sampling.top_logprobs = 0;
  request.constraint = all.compile("x", choice_grammar({"no"}));
  const uint64_t id = all.harness.submit(request);
  all.drain();
  // One of very few allowed tokens of 1600: certain after the mask, unlikely before it.
  EXPECT_LT(all.harness.output(id).logprobs.at(0), -0.5f);
}

}  // namespace
}  // namespace chorus
