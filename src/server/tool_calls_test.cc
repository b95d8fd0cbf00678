#include "server/tool_calls.h"

#include <gtest/gtest.h>

#include "server/api_test_model.h"

namespace chorus {
namespace {

ToolRequest request_of(std::string_view more = "{}") {
  json::object body = json::parse(R"({"tools": [{"type": "function", "function": {"name": "dig"}},
                                                {"type": "function", "function": {"name": "sing"}}]})")
                          .as_object();
  const json::value members = json::parse(more);
  for (const auto& [key, value] : members.get_object()) body[key] = value;
  return read_tools(body);
}

struct Answer {
  std::string content;
  std::vector<ToolCall> calls;
};

// The answer read in pieces of `size` bytes.
Answer read_answer(std::string_view text, size_t size, const ToolDialect& dialect = {}, bool begun = false) {
  const ToolRequest request = request_of();
  ToolCallReader reader(request, dialect, begun);
  Answer answer;
  for (size_t i = 0; i < text.size(); i += size) answer.content += reader.push(text.substr(i, size));
  answer.content += reader.finish();
  answer.calls = reader.calls();
  return answer;
}

TEST(Tools, ChoicesAreRead) {
  EXPECT_EQ(read_tools({}).choice, ToolRequest::Choice::kNone);
  EXPECT_EQ(request_of().choice, ToolRequest::Choice::kAuto);
  EXPECT_EQ(request_of(R"({"tool_choice": "none"})").choice, ToolRequest::Choice::kNone);
  EXPECT_EQ(request_of(R"({"tool_choice": "required"})").choice, ToolRequest::Choice::kRequired);
  const ToolRequest named =
      request_of(R"({"tool_choice": {"type": "function", "function": {"name": "sing"}}})");
  EXPECT_EQ(named.choice, ToolRequest::Choice::kRequired);
  ASSERT_EQ(named.tools.size(), 1u);
  EXPECT_FALSE(named.parallel);
}

TEST(Tools, WrongChoicesAreRefused) {
  for (const char* more : {R"({"tool_choice": "maybe"})", R"({"tool_choice": 1})", R"({"tool_choice": {}})",
                           R"({"tool_choice": {"type": "function", "function": {"name": "fly"}}})"}) {
    EXPECT_EQ(api_error_of([&] { request_of(more); }).status, 400) << more;
  }
}

TEST(ToolCalls, AreReadWhateverThePieces) {
  constexpr std::string_view kText =
      "Well. <tool_call>\n{\"name\": \"dig\", \"arguments\": {\"depth\": 3}}\n</tool_call>\n"
      "<tool_call>\n{\"name\": \"sing\", \"arguments\": {}}\n</tool_call>";
  for (size_t size : {size_t{1}, size_t{2}, size_t{7}, kText.size()}) {
    const Answer answer = read_answer(kText, size);
    EXPECT_EQ(answer.content, "Well. ");
    ASSERT_EQ(answer.calls.size(), 2u) << size;
    EXPECT_EQ(answer.calls[0].name, "dig");
    EXPECT_EQ(answer.calls[0].arguments, R"({"depth":3})");
    EXPECT_EQ(answer.calls[1].name, "sing");
  }
}

TEST(ToolCalls, WhatIsNoCallIsContent) {
  for (const std::string text :
       {"no call", "a < b <tool", "<tool_call>\n{\"name\": \"fly\", \"arguments\": {}}\n</tool_call>",
        "<tool_call>{\"name\": \"dig\"", "<tool_call></tool_call>", "<tool_call>{\"name\": 1}</tool_call>"}) {
    const Answer answer = read_answer(text, 3);
    EXPECT_EQ(answer.content, text);
    EXPECT_TRUE(answer.calls.empty());
  }
}

TEST(ToolCalls, BareCallsAreTheWholeAnswerOrNothing) {
  const ToolDialect bare{true, "", "", "", "name", "parameters"};
  const Answer call = read_answer(" {\"name\": \"dig\", \"parameters\": {\"depth\": 1}}", 4, bare);
  EXPECT_EQ(call.content, "");
  ASSERT_EQ(call.calls.size(), 1u);
  EXPECT_EQ(read_answer("see {\"name\": \"dig\"}", 4, bare).content, "see {\"name\": \"dig\"}");
}

TEST(ToolCalls, APromptThatBeganTheCallIsContinued) {
  const Answer answer = read_answer("{\"name\": \"dig\", \"arguments\": {}}\n</tool_call>", 5, {}, true);
  EXPECT_EQ(answer.content, "");
  ASSERT_EQ(answer.calls.size(), 1u);
}

}  // namespace
}  // namespace chorus
