#include "server/stream_events.h"

#include <gtest/gtest.h>

#include "server/api_test_model.h"

namespace chorus {
namespace {

TokenEvent event(std::string_view text, FinishReason finish = FinishReason::kNone, int sample = 0) {
  const std::vector<int32_t> ids = test_tokenizer().encode(text, {});
  EXPECT_LE(ids.size(), 1u) << text;
  TokenEvent e;
  e.sample = sample;
  e.token = ids.empty() ? -1 : ids[0];
  e.logprob = -0.5f;
  e.finish = finish;
  return e;
}

// Streams one prompt's events and takes the answer apart again.
std::vector<json::value> stream(const ApiRequest& api, const std::vector<TokenEvent>& events) {
  std::vector<Completion> completions;
  completions.emplace_back(api, 0, test_tokenizer());
  StreamEvents stream(api, {"7", 123}, test_tokenizer());
  std::string out;
  for (const TokenEvent& e : events) {
    const std::string piece = completions[0].push(e);
    stream.push(completions[0], 0, e.sample, piece, out);
  }
  stream.finish(completions, out);
  std::vector<json::value> parsed;
  std::string_view rest = out;
  while (!rest.empty()) {
    const size_t end = rest.find("\n\n");
    EXPECT_TRUE(rest.starts_with("data: "));
    const std::string_view data = rest.substr(6, end - 6);
    parsed.push_back(data == "[DONE]" ? json::value("[DONE]") : json::parse(data));
    rest.remove_prefix(end + 2);
  }
  return parsed;
}

TEST(StreamEvents, AChatBeginsWithItsRoleAndEndsWithItsReason) {
  const ApiRequest api = read_chat({{"stream", true}});
  const auto events = stream(api, {event("a"), event("b", FinishReason::kLength)});
  ASSERT_EQ(events.size(), 5u);
  EXPECT_EQ(events[0].at("object"), "chat.completion.chunk");
  EXPECT_EQ(events[0].at("id"), "chatcmpl-7");
  EXPECT_EQ(events[0].at("choices").at(0).at("delta"),
            json::parse(R"({"role": "assistant", "content": ""})"));
  EXPECT_EQ(events[1].at("choices").at(0).at("delta"), json::parse(R"({"content": "a"})"));
  EXPECT_EQ(events[1].at("choices").at(0).at("finish_reason"), nullptr);
  EXPECT_EQ(events[3].at("choices").at(0).at("delta"), json::object());
  EXPECT_EQ(events[3].at("choices").at(0).at("finish_reason"), "length");
  EXPECT_EQ(events[4], "[DONE]");
}

TEST(StreamEvents, UsageIsNullUntilTheEnd) {
  const ApiRequest api = read_chat({{"stream", true}, {"stream_options", {{"include_usage", true}}}});
  const auto events = stream(api, {event("a", FinishReason::kLength)});
  ASSERT_EQ(events.size(), 5u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(events[i].at("usage"), nullptr) << i;
  EXPECT_EQ(events[3].at("choices"), json::array());
  EXPECT_EQ(events[3].at("usage").at("completion_tokens"), 1);
}

TEST(StreamEvents, ACompletionWithEchoBeginsWithThePrompt) {
  const ApiRequest api =
      read_completion({{"prompt", "a"}, {"echo", true}, {"stream", true}, {"logprobs", 0}});
  const auto events = stream(api, {event("b"), event("c", FinishReason::kLength)});
  ASSERT_EQ(events.size(), 4u);
  const json::value& first = events[0].at("choices").at(0);
  EXPECT_EQ(first.at("text"), "ab");
  EXPECT_EQ(first.at("logprobs").at("token_logprobs"), json::parse("[null, -0.5]"));
  EXPECT_EQ(first.at("logprobs").at("text_offset"), json::parse("[0, 1]"));
  EXPECT_EQ(events[1].at("choices").at(0).at("logprobs").at("text_offset"), json::parse("[2]"));
}

TEST(StreamEvents, EveryLogprobIsSentOnce) {
  const ApiRequest api = read_chat({{"stream", true}, {"logprobs", true}, {"stop", {"bcx"}}});
  const auto events =
      stream(api, {event("a"), event("b"), event("c"), event("d"), event("", FinishReason::kLength)});
  size_t tokens = 0;
  for (const json::value& e : events) {
    if (!e.is_object()) continue;
    const json::value& logprobs = e.at("choices").at(0).at("logprobs");
    if (!logprobs.is_null()) tokens += logprobs.at("content").get_array().size();
  }
  EXPECT_EQ(tokens, 4u);
}

TEST(StreamEvents, CallsComeWithTheEnd) {
  const json::value tools = json::parse(R"([{"type": "function", "function": {"name": "dig"}}])");
  ApiRequest api = read_chat({{"stream", true}, {"tools", tools}});
  api.dialect = {};
  std::vector<TokenEvent> pieces;
  for (const int32_t id :
       test_tokenizer().encode("<tool_call>{\"name\": \"dig\", \"arguments\": {}}</tool_call>", {})) {
    TokenEvent e;
    e.token = id;
    pieces.push_back(e);
  }
  pieces.push_back(event("", FinishReason::kStop));
  const auto events = stream(api, pieces);
  ASSERT_EQ(events.size(), 4u);
  const json::value& call = events[1].at("choices").at(0).at("delta").at("tool_calls").at(0);
  EXPECT_EQ(call.at("index"), 0);
  EXPECT_EQ(call.at("function"), json::parse(R"({"name": "dig", "arguments": "{}"})"));
  EXPECT_EQ(events[2].at("choices").at(0).at("finish_reason"), "tool_calls");
}

TEST(StreamEvents, ChoicesAreStreamedSideBySide) {
  const ApiRequest api = read_chat({{"stream", true}, {"n", 2}});
  const auto events = stream(api, {event("a", FinishReason::kNone, 1), event("b", FinishReason::kLength, 0),
                                   event("c", FinishReason::kLength, 1)});
  std::vector<std::string> texts(2);
  int ends = 0;
  for (const json::value& e : events) {
    if (!e.is_object()) continue;
    const json::value& choice = e.at("choices").at(0);
    const json::value* content = choice.at("delta").get_object().if_contains("content");
    if (content != nullptr) texts[choice.at("index").to_number<size_t>()] += content->get_string();
    ends += !choice.at("finish_reason").is_null();
  }
  EXPECT_EQ(texts[0], "b");
  EXPECT_EQ(texts[1], "ac");
  EXPECT_EQ(ends, 2);
}

TEST(StreamEvents, AnErrorIsAnEvent) {
  std::string out;
  StreamEvents::fail(ApiError(503, "unavailable_error", "no"), out);
  EXPECT_EQ(out,
            "data: {\"error\":{\"message\":\"no\",\"type\":\"unavailable_error\",\"param\":null,"
            "\"code\":null}}\n\n");
}

}  // namespace
}  // namespace chorus
