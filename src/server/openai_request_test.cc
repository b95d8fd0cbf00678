#include "server/openai_request.h"

#include <gtest/gtest.h>

#include "server/api_test_model.h"

namespace chorus {
namespace {

using Ids = std::vector<int32_t>;

json::value parsed(std::string_view text) { return json::parse(text); }

TEST(ChatRequest, HasItsDefaults) {
  const ApiRequest api = read_chat();
  ASSERT_EQ(api.prompts.size(), 1u);
  const Request& r = api.prompts[0].request;
  EXPECT_EQ(r.prompt, test_tokenizer().encode(R"({"messages":[{"role":"user","content":"Hello"}]})", {}));
  EXPECT_EQ(r.max_tokens, kDefaultChatTokens);
  EXPECT_EQ(r.stop_ids, test_tokenizer().stop_ids());
  EXPECT_EQ(r.samples, 1);
  EXPECT_EQ(r.sampling.temperature, 1);
  EXPECT_EQ(r.sampling.seed, 7u);
  EXPECT_EQ(r.sampling.top_logprobs, -1);
  EXPECT_TRUE(r.adapters.empty());
  EXPECT_EQ(api.wanted.model, "base");
  EXPECT_FALSE(api.stream || api.echo || api.logprobs || r.prompt_logprobs);
}

TEST(ChatRequest, ReadsEveryField) {
  const ApiRequest api = read_chat({{"model", "elf@0.5+villain"},
                                    {"max_completion_tokens", 9},
                                    {"min_tokens", 2},
                                    {"temperature", 0.5},
                                    {"top_p", 0.25},
                                    {"top_k", 4},
                                    {"min_p", 0.125},
                                    {"presence_penalty", 0.5},
                                    {"frequency_penalty", -1},
                                    {"repetition_penalty", 1.5},
                                    {"logit_bias", {{"3", -100}, {"0", 1}}},
                                    {"n", 3},
                                    {"seed", -1},
                                    {"stop", {"a", "b"}},
                                    {"stop_token_ids", {4, 5}},
                                    {"ignore_eos", true},
                                    {"logprobs", true},
                                    {"top_logprobs", 2},
                                    {"stream", true},
                                    {"stream_options", {{"include_usage", true}}},
                                    {"user", "x"},
                                    {"metadata", {{"a", "b"}}}});
  const Request& r = api.prompts[0].request;
  ASSERT_EQ(r.adapters.size(), 2u);
  EXPECT_EQ(r.adapters[0].adapter->id(), "elf");
  EXPECT_EQ(r.adapters[0].scale, 0.5f);
  EXPECT_EQ(r.adapters[1].scale, 1);
  EXPECT_EQ(r.max_tokens, 9);
  EXPECT_EQ(r.min_tokens, 2);
  EXPECT_EQ(r.samples, 3);
  EXPECT_EQ(r.stop_ids, (Ids{4, 5}));
  EXPECT_FALSE(r.prompt_logprobs);
  EXPECT_EQ(r.sampling.temperature, 0.5f);
  EXPECT_EQ(r.sampling.top_p, 0.25f);
  EXPECT_EQ(r.sampling.top_k, 4);
  EXPECT_EQ(r.sampling.min_p, 0.125f);
  EXPECT_EQ(r.sampling.presence_penalty, 0.5f);
  EXPECT_EQ(r.sampling.frequency_penalty, -1);
  EXPECT_EQ(r.sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(r.sampling.logit_bias, (std::vector<std::pair<int32_t, float>>{{3, -100.0f}, {0, 1.0f}}));
  EXPECT_EQ(r.sampling.seed, ~uint64_t{0});
  EXPECT_EQ(r.sampling.top_logprobs, 2);
  EXPECT_EQ(api.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(api.stream && api.include_usage && api.logprobs);
}

// A model whose template remembers the variables it was given last.
ApiModel observed_model(json::object& seen) {
  ApiModel model = test_model();
  model.render_chat = [&seen](json::object variables, bool, const ChatTemplate*) {
    seen = std::move(variables);
    return std::string("prompt");
  };
  return model;
}

TEST(ChatRequest, FlattensPartsAndPassesTheRestToTheTemplate) {
  json::object seen;
  read_request(parsed(R"({"messages": [
    {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    {"role": "user", "content": "c", "name": "d"}], "chat_template_kwargs": {"enable_thinking": false}})"),
               Endpoint::kChat, observed_model(seen));
  EXPECT_EQ(json::value(seen), parsed(R"({"enable_thinking": false, "messages": [
    {"role": "system", "content": "a\nb"}, {"role": "user", "content": "c", "name": "d"}]})"));
}

TEST(ChatRequest, ToolChoiceNoneHidesTheTools) {
  json::object seen;
  const ApiModel model = observed_model(seen);
  const json::value tools = parsed(R"([{"type": "function", "function": {"name": "dig"}}])");
  read_request(chat_body({{"tools", tools}, {"tool_choice", "none"}}), Endpoint::kChat, model);
  EXPECT_EQ(json::serialize(seen).find("dig"), std::string::npos);
  read_request(chat_body({{"tools", tools}, {"tool_choice", "auto"}}), Endpoint::kChat, model);
  EXPECT_NE(json::serialize(seen).find("dig"), std::string::npos);
}

TEST(CompletionRequest, TakesTextsAndTokenIds) {
  EXPECT_EQ(read_completion().prompts[0].request.max_tokens, kDefaultCompletionTokens);
  const Ids hello = test_tokenizer().encode("Hello", {});
  EXPECT_EQ(read_completion().prompts[0].request.prompt, hello);
  EXPECT_EQ(read_completion({{"prompt", {5, 6}}}).prompts[0].request.prompt, (Ids{5, 6}));

  const ApiRequest texts = read_completion({{"prompt", {"Hello", "World"}}, {"echo", true}});
  ASSERT_EQ(texts.prompts.size(), 2u);
  EXPECT_EQ(texts.prompts[0].request.prompt, hello);
  EXPECT_EQ(texts.prompts[1].echo, "World");

  json::array lists{json::array{5, 6}, json::array{7}};
  const ApiRequest ids = read_completion({{"prompt", lists}, {"echo", true}});
  ASSERT_EQ(ids.prompts.size(), 2u);
  EXPECT_EQ(ids.prompts[1].request.prompt, (Ids{7}));
  EXPECT_EQ(ids.prompts[0].echo, test_tokenizer().decode(Ids{5, 6}));
}

TEST(CompletionRequest, DefaultSeedsDifferByPromptGivenOnesDoNot) {
  const json::array prompts{"a", "a"};
  const ApiRequest by_default = read_completion({{"prompt", prompts}});
  EXPECT_EQ(by_default.prompts[0].request.sampling.seed, 7u);
  EXPECT_EQ(by_default.prompts[1].request.sampling.seed, 8u);
  const ApiRequest given = read_completion({{"prompt", prompts}, {"seed", 3}});
  EXPECT_EQ(given.prompts[0].request.sampling.seed, 3u);
  EXPECT_EQ(given.prompts[1].request.sampling.seed, 3u);
}

TEST(CompletionRequest, ScoresAPrompt) {
  const ApiRequest api = read_completion({{"echo", true}, {"logprobs", 1}, {"max_tokens", 0}});
  EXPECT_TRUE(api.prompts[0].request.prompt_logprobs);
  EXPECT_EQ(api.prompts[0].request.max_tokens, 0);
  for (const json::object& less : {json::object{{"max_tokens", 0}},
                                   {{"max_tokens", 0}, {"echo", true}},
                                   {{"max_tokens", 0}, {"logprobs", 1}}}) {
    EXPECT_EQ(api_error_of([&] { read_completion(less); }).param, "max_tokens") << json::value(less);
  }
}

TEST(Request, TheContextBoundsMaxTokens) {
  json::array prompt;
  for (int i = 0; i < kTestContext - 10; ++i) prompt.push_back(5);
  EXPECT_EQ(read_completion({{"prompt", prompt}}).prompts[0].request.max_tokens, 10);
  EXPECT_EQ(read_completion({{"prompt", prompt}, {"max_tokens", 10}}).prompts[0].request.max_tokens, 10);
  const ApiError beyond = api_error_of([&] { read_completion({{"prompt", prompt}, {"max_tokens", 11}}); });
  EXPECT_EQ(beyond.code, "context_length_exceeded");
  for (int i = 0; i < 10; ++i) prompt.push_back(5);
  const ApiError full = api_error_of([&] { read_completion({{"prompt", prompt}}); });
  EXPECT_EQ(full.code, "context_length_exceeded");
  EXPECT_EQ(full.param, "prompt");
}

TEST(Request, AdaptersBesideTheBase) {
  const json::value list = parsed(R"([{"name": "elf", "scale": 0.25}, {"name": "villain"}])");
  const ApiRequest api = read_chat({{"adapters", list}});
  const auto& uses = api.prompts[0].request.adapters;
  ASSERT_EQ(uses.size(), 2u);
  EXPECT_EQ(uses[0].scale, 0.25f);
  EXPECT_EQ(uses[1].adapter->id(), "villain");
  EXPECT_EQ(uses[1].scale, 1);
}

TEST(Request, AnUnknownModelIs404) {
  for (const char* name : {"nobody", "elf+nobody", "elf@x", "elf+elf", "+"}) {
    const ApiError error = api_error_of([&] { read_chat({{"model", name}}); });
    EXPECT_EQ(error.status, 404) << name;
    EXPECT_EQ(error.type, "not_found_error");
    EXPECT_EQ(error.param, "model");
    EXPECT_EQ(error.code, "model_not_found");
  }
}

struct Refused {
  const char* body;  // members added to a valid one
  const char* param;
};

class RefusedChat : public testing::TestWithParam<Refused> {};
TEST_P(RefusedChat, NamesTheField) {
  const json::object more = parsed(GetParam().body).as_object();
  const ApiError error = api_error_of([&] { read_chat(more); });
  EXPECT_EQ(error.param, GetParam().param) << error.what();
  EXPECT_GE(error.status, 400);
  EXPECT_NE(std::string(error.what()), "");
}

INSTANTIATE_TEST_SUITE_P(
    Bodies, RefusedChat,
    testing::Values(
        Refused{R"({"model": 1})", "model"}, Refused{R"({"messages": null})", "messages"},
        Refused{R"({"messages": []})", "messages"}, Refused{R"({"messages": "hi"})", "messages"},
        Refused{R"({"messages": ["hi"]})", "messages"}, Refused{R"({"messages": [{}]})", "messages.role"},
        Refused{R"({"messages": [{"role": "user"}]})", "messages.content"},
        Refused{R"({"messages": [{"role": "king", "content": ""}]})", "messages.role"},
        Refused{R"({"messages": [{"role": "user", "content": 1}]})", "messages.content"},
        Refused{R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})",
                "messages.content"},
        Refused{R"({"messages": [{"role": "user", "content": [{"type": "text"}]}]})", "messages.content"},
        Refused{R"({"messages": [{"role": "user", "content": "raise"}]})", "messages"},
        Refused{R"({"tools": {}})", "tools"}, Refused{R"({"tools": [1]})", "tools"},
        Refused{R"({"tool_choice": "required"})", "tool_choice"},
        Refused{R"({"tool_choice": {}})", "tool_choice"},
        Refused{R"({"tools": [{"type": "function"}]})", "tools.function"},
        Refused{R"({"tools": [{"type": "function", "function": {"name": "a b"}}]})", "tools.function.name"},
        Refused{R"({"response_format": {"type": "xml"}})", "response_format"},
        Refused{R"({"response_format": {}})", "response_format"},
        Refused{R"({"guided_json": 1})", "guided_json"}, Refused{R"({"guided_regex": ""})", "guided_regex"},
        Refused{R"({"guided_choice": []})", "guided_choice"},
        Refused{R"({"structured_outputs": {"xml": 1}})", "structured_outputs.xml"},
        Refused{R"({"guided_regex": "a", "guided_choice": ["a"]})", "guided_choice"},
        Refused{R"({"adapter_source": "hub"})", "adapter_source"},
        Refused{R"({"lora": [{"scale": 1}]})", "lora.id"}, Refused{R"({"lora": {}})", "lora"},
        Refused{R"({"functions": []})", "functions"}, Refused{R"({"prompt": "a"})", "prompt"},
        Refused{R"({"echo": true})", "echo"}, Refused{R"({"temprature": 1})", "temprature"},
        Refused{R"({"stream": 1})", "stream"}, Refused{R"({"stream_options": {}})", "stream_options"},
        Refused{R"({"stream": true, "stream_options": {"a": 1}})", "stream_options"},
        Refused{R"({"logprobs": 1})", "logprobs"}, Refused{R"({"top_logprobs": 1})", "top_logprobs"},
        Refused{R"({"max_tokens": 1, "max_completion_tokens": 2})", "max_tokens"},
        Refused{R"({"stop": 1})", "stop"}, Refused{R"({"stop": ""})", "stop"},
        Refused{R"({"stop": [1]})", "stop"}, Refused{R"({"stop_token_ids": 1})", "stop_token_ids"},
        Refused{R"({"stop_token_ids": [-1]})", "stop_token_ids"},
        Refused{R"({"stop_token_ids": [1603]})", "stop_token_ids"},
        Refused{R"({"logit_bias": []})", "logit_bias"},
        Refused{R"({"logit_bias": {"1603": 1}})", "logit_bias"},
        Refused{R"({"logit_bias": {"-1": 1}})", "logit_bias"},
        Refused{R"({"logit_bias": {"1x": 1}})", "logit_bias"},
        Refused{R"({"logit_bias": {"": 1}})", "logit_bias"}, Refused{R"({"adapters": {}})", "adapters"},
        Refused{R"({"adapters": [{}]})", "adapters.name"},
        Refused{R"({"adapters": [{"name": "nobody"}]})", "model"},
        Refused{R"({"adapters": [{"name": "base"}]})", "adapters.name"},
        Refused{R"({"adapters": [{"name": "elf@2"}]})", "adapters.name"},
        Refused{R"({"adapters": [{"name": "elf"}, {"name": "elf"}]})", "adapters.name"},
        Refused{R"({"adapters": [{"name": "elf", "weight": 1}]})", "adapters"},
        Refused{R"({"adapters": [{"name": "elf", "scale": "1"}]})", "adapters.scale"},
        Refused{R"({"model": "elf", "adapters": [{"name": "villain"}]})", "adapters"},
        Refused{R"({"min_tokens": 5, "max_tokens": 4})", ""}));

class RefusedCompletion : public testing::TestWithParam<Refused> {};
TEST_P(RefusedCompletion, NamesTheField) {
  const json::object more = parsed(GetParam().body).as_object();
  EXPECT_EQ(api_error_of([&] { read_completion(more); }).param, GetParam().param);
}

INSTANTIATE_TEST_SUITE_P(
    Bodies, RefusedCompletion,
    testing::Values(Refused{R"({"prompt": null})", "prompt"}, Refused{R"({"prompt": 1})", "prompt"},
                    Refused{R"({"prompt": []})", "prompt"}, Refused{R"({"prompt": ""})", ""},
                    Refused{R"({"prompt": [[]]})", ""}, Refused{R"({"prompt": [true]})", "prompt"},
                    Refused{R"({"prompt": ["a", 1]})", "prompt"},
                    Refused{R"({"prompt": [1, "a"]})", "prompt"}, Refused{R"({"prompt": [-1]})", "prompt"},
                    Refused{R"({"prompt": [1603]})", "prompt"},
                    Refused{R"({"prompt": [[1], [1603]]})", "prompt"},
                    Refused{R"({"prompt": [1.5]})", "prompt"}, Refused{R"({"messages": []})", "messages"},
                    Refused{R"({"tools": []})", "tools"}, Refused{R"({"logprobs": true})", "logprobs"},
                    Refused{R"({"best_of": 2})", "best_of"}, Refused{R"({"suffix": "a"})", "suffix"},
                    Refused{R"({"echo": "yes"})", "echo"}));

TEST(Request, CountsAreBounded) {
  const json::array stops(kMaxStops, "a");
  EXPECT_EQ(read_chat({{"stop", stops}}).stop.size(), kMaxStops);
  EXPECT_EQ(api_error_of([&] { read_chat({{"stop", json::array(kMaxStops + 1, "a")}}); }).param, "stop");
  const std::string longest(kMaxStopBytes, 'a');
  EXPECT_EQ(read_chat({{"stop", longest}}).stop[0], longest);
  EXPECT_EQ(api_error_of([&] { read_chat({{"stop", longest + "a"}}); }).param, "stop");
  EXPECT_EQ(read_completion({{"prompt", json::array(kMaxPrompts, "a")}}).prompts.size(), kMaxPrompts);
  EXPECT_EQ(api_error_of([&] {
              read_completion({{"prompt", json::array(kMaxPrompts + 1, "a")}});
            }).param,
            "prompt");
  json::object biases;
  for (size_t i = 0; i < kMaxLogitBias; ++i) biases[std::to_string(i)] = 1;
  EXPECT_EQ(read_chat({{"logit_bias", biases}}).prompts[0].request.sampling.logit_bias.size(), kMaxLogitBias);
  biases["1500"] = 1;
  EXPECT_EQ(api_error_of([&] { read_chat({{"logit_bias", biases}}); }).param, "logit_bias");
}

TEST(Request, AnErrorQuotesNoRawInput) {
  const ApiError error = api_error_of([] { read_chat({{"a\n\x1b[31m", 1}}); });
  EXPECT_EQ(std::string(error.what()).find_first_of("\n\x1b"), std::string::npos) << error.what();
  EXPECT_EQ(error_object(error).at("param").as_string().find('\n'), std::string::npos);
}

TEST(Request, AnErrorHasOpenAisShape) {
  const ApiError error = api_error_of([] { read_chat({{"n", 0}}); });
  EXPECT_EQ(json::value(error_object(error)), parsed(R"({"message": "n must be an integer from 1 to 8",
    "type": "invalid_request_error", "param": "n", "code": null})"));
}

TEST(Request, WithoutAModelTheBaseAnswers) {
  for (const json::value& none : {json::value(nullptr), json::value("")}) {
    EXPECT_EQ(read_chat({{"model", none}}).wanted.model, "base");
    EXPECT_TRUE(read_chat({{"model", none}}).prompts[0].request.adapters.empty());
  }
}

TEST(Request, TheBodyMustBeAnObject) {
  for (const char* body : {"1", "[]", "null", "\"a\""}) {
    EXPECT_EQ(api_error_of([&] { read_request(parsed(body), Endpoint::kChat); }).status, 400);
  }
}

}  // namespace
}  // namespace chorus
