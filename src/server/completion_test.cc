#include "server/completion.h"

#include <gtest/gtest.h>

#include "server/api_test_model.h"
#include "server/openai_response.h"

namespace chorus {
namespace {

TokenEvent event(int32_t token, FinishReason finish = FinishReason::kNone, int sample = 0) {
  TokenEvent e;
  e.request = 1;
  e.sample = sample;
  e.token = token;
  e.logprob = -0.5f;
  e.top = {{5, -0.25f}};
  e.finish = finish;
  return e;
}

TokenEvent last(FinishReason finish, int sample = 0) { return event(-1, finish, sample); }

int32_t token(std::string_view text) {
  const std::vector<int32_t> ids = test_tokenizer().encode(text, {});
  EXPECT_EQ(ids.size(), 1u) << text;
  return ids[0];
}

int32_t end_of_turn() { return *test_tokenizer().find_token("<|im_end|>"); }

json::object body_of(const ApiRequest& api, const Completion& completion) {
  return response_body(api, std::span(&completion, 1), {"1", 123}, test_tokenizer());
}

const json::value& first_choice(const json::object& body) { return body.at("choices").at(0); }

TEST(Completion, CollectsText) {
  const ApiRequest api = read_chat();
  Completion c(api, 0, test_tokenizer());
  EXPECT_EQ(c.push(event(token("a"))), "a");
  EXPECT_FALSE(c.done());
  EXPECT_EQ(c.push(event(token("b"), FinishReason::kLength)), "b");
  EXPECT_TRUE(c.done() && c.ended());
  EXPECT_EQ(json::value(body_of(api, c)),
            json::parse(fmt::format(R"({{"id": "chatcmpl-1", "object": "chat.completion", "created": 123,
      "model": "base", "choices": [{{"index": 0, "message": {{"role": "assistant", "content": "ab"}},
      "logprobs": null, "finish_reason": "length"}}],
      "usage": {{"prompt_tokens": {0}, "completion_tokens": 2, "total_tokens": {1},
      "prompt_tokens_details": {{"cached_tokens": 0}}}}}})",
                                    api.prompts[0].request.prompt.size(),
                                    api.prompts[0].request.prompt.size() + 2)));
}

TEST(Completion, TheTokenOfAStopIdIsCountedButNoText) {
  const ApiRequest api = read_chat({{"stop_token_ids", {token("b")}}});
  Completion c(api, 0, test_tokenizer());
  c.push(event(token("a")));
  EXPECT_EQ(c.push(event(token("b"), FinishReason::kStop)), "");
  EXPECT_EQ(c.samples()[0].text, "a");
  EXPECT_EQ(c.sampled_tokens(), 2);
  EXPECT_EQ(first_choice(body_of(api, c)).at("finish_reason"), "stop");
}

TEST(Completion, AStopStringEndsTheSampleWhateverComesAfter) {
  const ApiRequest api = read_chat({{"stop", "bc"}, {"logprobs", true}});
  std::vector<std::string> bodies;
  for (const int late : {0, 1, 3}) {
    Completion c(api, 0, test_tokenizer());
    EXPECT_EQ(c.push(event(token("a"))), "a");
    EXPECT_EQ(c.push(event(token("b"))), "");
    EXPECT_FALSE(c.done());
    EXPECT_EQ(c.push(event(token("c"))), "");
    EXPECT_TRUE(c.done());
    EXPECT_FALSE(c.ended());
    for (int i = 0; i < late; ++i) EXPECT_EQ(c.push(event(token("x"))), "");
    c.push(last(FinishReason::kCancelled));
    EXPECT_TRUE(c.ended());
    EXPECT_FALSE(c.error());
    EXPECT_EQ(c.samples()[0].text, "a");
    EXPECT_EQ(c.sampled_tokens(), 3);
    EXPECT_EQ(c.samples()[0].logged.size(), 3u);
    bodies.push_back(json::serialize(body_of(api, c)));
    EXPECT_NE(bodies.back().find(R"("finish_reason":"stop")"), std::string::npos);
  }
  EXPECT_EQ(bodies[0], bodies[1]);
  EXPECT_EQ(bodies[0], bodies[2]);
}

TEST(Completion, AStopStringMetByTheLastTokenIsAStop) {
  const ApiRequest api = read_chat({{"stop", "b"}});
  Completion c(api, 0, test_tokenizer());
  c.push(event(token("b"), FinishReason::kLength));
  EXPECT_EQ(c.samples()[0].finish, FinishReason::kStop);
  EXPECT_EQ(c.samples()[0].text, "");
}

TEST(Completion, WhatMayBecomeAStopStringComesWithTheEnd) {
  const ApiRequest api = read_chat({{"stop", "bc"}});
  Completion c(api, 0, test_tokenizer());
  EXPECT_EQ(c.push(event(token("b"))), "");
  EXPECT_EQ(c.push(event(end_of_turn(), FinishReason::kStop)), "b");
  EXPECT_EQ(c.samples()[0].text, "b");
}

TEST(Completion, SamplesAreApart) {
  const ApiRequest api = read_chat({{"n", 2}, {"stop", "b"}});
  Completion c(api, 0, test_tokenizer());
  c.push(event(token("a"), FinishReason::kNone, 1));
  c.push(event(token("b"), FinishReason::kNone, 0));
  EXPECT_FALSE(c.done());
  c.push(event(token("c"), FinishReason::kLength, 1));
  EXPECT_TRUE(c.done());
  EXPECT_FALSE(c.ended());
  const json::object body = body_of(api, c);
  EXPECT_EQ(body.at("choices").at(0).at("message").at("content"), "");
  EXPECT_EQ(body.at("choices").at(1).at("message").at("content"), "ac");
  EXPECT_EQ(body.at("choices").at(1).at("index"), 1);
  EXPECT_EQ(body.at("usage").at("completion_tokens"), 3);
}

TEST(Completion, AFailureIsAnErrorNotAnAnswer) {
  const ApiRequest api = read_chat();
  Completion failed(api, 0, test_tokenizer());
  TokenEvent e = last(FinishReason::kError);
  e.error = "bad\nlogits";
  failed.push(e);
  EXPECT_TRUE(failed.done());
  ASSERT_TRUE(failed.error());
  EXPECT_EQ(failed.error()->status, 500);
  EXPECT_EQ(std::string(failed.error()->what()).find('\n'), std::string::npos);

  Completion cancelled(api, 0, test_tokenizer());
  cancelled.push(event(token("a")));
  cancelled.push(last(FinishReason::kCancelled));
  ASSERT_TRUE(cancelled.error());
  EXPECT_EQ(cancelled.error()->type, "cancelled_error");
}

TEST(Response, ChatLogprobs) {
  const ApiRequest api = read_chat({{"logprobs", true}, {"top_logprobs", 1}});
  Completion c(api, 0, test_tokenizer());
  c.push(event(token("a"), FinishReason::kLength));
  const json::object body = body_of(api, c);
  const json::value& entry = first_choice(body).at("logprobs").at("content").at(0);
  EXPECT_EQ(entry.at("token"), "a");
  EXPECT_EQ(entry.at("bytes"), json::parse("[97]"));
  EXPECT_EQ(entry.at("logprob"), -0.5);
  ASSERT_EQ(entry.at("top_logprobs").as_array().size(), 1u);
  EXPECT_EQ(entry.at("top_logprobs").at(0).at("logprob"), -0.25);
}

TEST(Response, ChatLogprobsOfAPartOfACharacterHaveItsBytes) {
  const std::vector<int32_t> ids = test_tokenizer().encode("\U0001F9DD", {});
  ASSERT_GT(ids.size(), 1u);
  const std::vector<LoggedToken> logged = {{ids[0], -1.0f, {}}};
  const json::object result = chat_logprobs(logged, 0, test_tokenizer());
  const json::value& entry = result.at("content").at(0);
  const std::string bytes = test_tokenizer().token_bytes(ids[0]);
  ASSERT_EQ(entry.at("bytes").as_array().size(), bytes.size());
  EXPECT_EQ(entry.at("bytes").at(0), 0xF0);
  EXPECT_EQ(entry.at("top_logprobs").as_array().size(), 0u);
  int64_t offset = 0;
  const json::object completion = completion_logprobs(logged, test_tokenizer(), offset);
  EXPECT_TRUE(completion.at("tokens").at(0).as_string().starts_with("bytes:\\xf0")) << completion;
}

TEST(Response, EchoScoresThePromptFromItsSecondToken) {
  const ApiRequest api = read_completion(
      {{"prompt", {token("a"), token("b"), token("c")}}, {"echo", true}, {"logprobs", 1}, {"n", 2}});
  Completion c(api, 0, test_tokenizer());
  EXPECT_EQ(c.push(event(token("b"))), "");
  EXPECT_EQ(c.push(event(token("c"))), "");
  c.push(event(token("d"), FinishReason::kLength, 1));
  EXPECT_EQ(c.push(event(token("e"), FinishReason::kLength, 0)), "e");
  const json::object body = body_of(api, c);
  EXPECT_EQ(first_choice(body).at("text"), "abce");
  EXPECT_EQ(body.at("choices").at(1).at("text"), "abcd");
  const json::value& logprobs = first_choice(body).at("logprobs");
  EXPECT_EQ(logprobs.at("tokens"), json::parse(R"(["a", "b", "c", "e"])"));
  EXPECT_EQ(logprobs.at("token_logprobs"), json::parse("[null, -0.5, -0.5, -0.5]"));
  EXPECT_EQ(logprobs.at("text_offset"), json::parse("[0, 1, 2, 3]"));
  EXPECT_TRUE(logprobs.at("top_logprobs").at(0).is_null());
  // The likeliest and the token itself.
  EXPECT_EQ(logprobs.at("top_logprobs").at(1).as_object().size(), 2u);
  EXPECT_EQ(logprobs.at("top_logprobs").at(1).at("b"), -0.5);
  EXPECT_EQ(body.at("usage").at("prompt_tokens"), 3);
  EXPECT_EQ(body.at("usage").at("completion_tokens"), 2);
}

TEST(Response, MaxTokensZeroScoresOnly) {
  const ApiRequest api = read_completion(
      {{"prompt", {token("a"), token("b")}}, {"echo", true}, {"logprobs", 0}, {"max_tokens", 0}});
  Completion c(api, 0, test_tokenizer());
  c.push(event(token("b")));
  c.push(last(FinishReason::kLength));
  const json::object body = body_of(api, c);
  EXPECT_EQ(first_choice(body).at("text"), "ab");
  EXPECT_EQ(first_choice(body).at("finish_reason"), "length");
  EXPECT_EQ(first_choice(body).at("logprobs").at("token_logprobs"), json::parse("[null, -0.5]"));
  EXPECT_EQ(body.at("usage").at("completion_tokens"), 0);
}

TEST(Response, ImpossibleTokensHaveAFiniteLogprob) {
  const std::vector<LoggedToken> logged = {{5, -std::numeric_limits<float>::infinity(), {}}};
  int64_t offset = 0;
  EXPECT_EQ(completion_logprobs(logged, test_tokenizer(), offset).at("token_logprobs").at(0), -9999.0);
}

TEST(Response, PromptsAreChoicesInOrder) {
  const ApiRequest api = read_completion({{"prompt", {"a", "b"}}, {"n", 2}});
  std::vector<Completion> completions;
  completions.reserve(2);
  for (size_t p = 0; p < 2; ++p) {
    Completion& c = completions.emplace_back(api, p, test_tokenizer());
    for (int s = 0; s < 2; ++s)
      c.push(event(token(std::string(1, static_cast<char>('a' + 2 * static_cast<int>(p) + s))),
                   FinishReason::kLength, s));
  }
  const json::object body = response_body(api, completions, {"1", 0}, test_tokenizer());
  std::string texts;
  for (const json::value& choice : body.at("choices").as_array()) {
    EXPECT_EQ(choice.at("index").to_number<size_t>(), texts.size());
    texts += choice.at("text").as_string();
  }
  EXPECT_EQ(texts, "abcd");
  EXPECT_EQ(body.at("usage").at("completion_tokens"), 4);
}

}  // namespace
}  // namespace chorus
