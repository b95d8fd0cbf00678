#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/error.h"
#include "formats/chat_text.h"
#include "formats/tokenizer_golden.h"
#include "train/examples.h"
#include "train/token_spans.h"

namespace chorus {
namespace {

std::string golden_template(const std::string& name) {
  std::ifstream file(CHORUS_SOURCE_DIR "/tests/golden/templates/" + name + ".jinja", std::ios::binary);
  EXPECT_TRUE(file) << name;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

Example chat(const char* messages, const char* tools = "[]") {
  Example example;
  example.messages = json::parse(messages).as_array();
  example.tools = json::parse(tools).as_array();
  return example;
}

// The text of each run of labelled tokens.
std::vector<std::string> learned(const TokenizedExample& example, const Tokenizer& tokenizer) {
  std::vector<std::string> runs;
  for (size_t i = 0; i < example.tokens.size(); ++i) {
    if (!example.label[i]) continue;
    if (i == 0 || !example.label[i - 1]) runs.emplace_back();
    runs.back() += tokenizer.token_bytes(example.tokens[i]);
  }
  return runs;
}

using Runs = std::vector<std::string>;

constexpr const char* kTurns =
    R"([{"role": "user", "content": "One?"}, {"role": "assistant", "content": "Yes."},
  {"role": "user", "content": "Two?"}, {"role": "assistant", "content": "Also."}])";

TokenizedExample tokenized(const Example& example, const Tokenizer& tokenizer, const std::string& name,
                           TokenizeOptions options = {}) {
  const ChatTemplate source(golden_template(name));
  return tokenize_example(example, tokenizer, &source, options, "data.jsonl:3");
}

std::string error_of(const Example& example, const Tokenizer& tokenizer, const std::string& name,
                     TokenizeOptions options = {}) {
  try {
    tokenized(example, tokenizer, name, options);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Tokenize, LearnsWhatTheAssistantSaysWithItsEndMark) {
  const Tokenizer tokenizer = load_golden("smollm");
  for (const char* name : {"smollm2", "chatml", "qwen2.5", "zephyr"}) {
    const TokenizedExample all = tokenized(chat(kTurns), tokenizer, name);
    EXPECT_EQ(learned(all, tokenizer), (Runs{"Yes.<|im_end|>\n", "Also.<|im_end|>\n"})) << name;
    EXPECT_EQ(all.labels, std::ranges::count(all.label, 1));
    EXPECT_FALSE(all.truncated);
    const TokenizedExample last = tokenized(chat(kTurns), tokenizer, name, {TrainOn::kLast});
    EXPECT_EQ(learned(last, tokenizer), Runs{"Also.<|im_end|>\n"}) << name;
    EXPECT_EQ(last.tokens, all.tokens);
    const TokenizedExample whole = tokenized(chat(kTurns), tokenizer, name, {TrainOn::kAll});
    EXPECT_EQ(whole.labels, static_cast<int>(whole.tokens.size()) - 1);
  }
}

// What `chorus eval` scores and what a server is asked: the prompt in one encoding, then the answer.
TEST(Tokenize, TheTokensAreThoseOfServing) {
  for (const char* style : {"smollm", "llama2", "gemma", "qwen2"}) {
    const Tokenizer tokenizer = load_golden(style);
    const ChatTemplate source(golden_template("chatml"));
    json::array turns = json::parse(kTurns).as_array();
    const std::string all = render_chat(source, tokenizer, {{"messages", turns}}, false);
    turns.pop_back();
    const std::string prompt = render_chat(source, tokenizer, {{"messages", turns}}, true);
    std::vector<int32_t> expected = encode_rendered(tokenizer, prompt);
    const auto begin = static_cast<ptrdiff_t>(expected.size());
    const std::vector<int32_t> answer = encode_continuation(tokenizer, all.substr(prompt.size()));
    expected.insert(expected.end(), answer.begin(), answer.end());
    TokenizedExample example = tokenize_example(chat(kTurns), tokenizer, &source, {TrainOn::kLast}, "x");
    ASSERT_GE(example.tokens.size(), expected.size()) << style;
    EXPECT_EQ(std::ranges::find(example.label, 1) - example.label.begin(), begin);
    example.tokens.resize(expected.size());  // an end may follow where the template's mark is no token
    EXPECT_EQ(example.tokens, expected) << style;
  }
}

TEST(Tokenize, AnAnswerDoesNotBeginWithASpaceThatNobodyWrote) {
  const Tokenizer tokenizer = load_golden("llama2");
  const TokenizedExample example = tokenized(chat(kTurns), tokenizer, "llama2");
  const std::string stop = tokenizer.token_bytes(*tokenizer.eos());
  EXPECT_EQ(learned(example, tokenizer), (Runs{" Yes. " + stop, " Also. " + stop}));
}

TEST(Tokenize, AnAnswerOfNoWeightIsNotLearned) {
  const Tokenizer tokenizer = load_golden("smollm");
  Example example = chat(kTurns);
  example.messages[1].get_object()["weight"] = 0;
  EXPECT_EQ(learned(tokenized(example, tokenizer, "smollm2"), tokenizer), Runs{"Also.<|im_end|>\n"});
  example.messages[1].get_object()["weight"] = 1;
  example.messages[3].get_object()["weight"] = 0;
  EXPECT_EQ(learned(tokenized(example, tokenizer, "smollm2"), tokenizer), Runs{"Yes.<|im_end|>\n"});
  EXPECT_EQ(tokenized(example, tokenizer, "smollm2", {TrainOn::kLast}).labels, 0);
}

// GLM's next turn ends the one before it.
TEST(Tokenize, EveryLastAnswerEndsWithATokenThatStops) {
  const Tokenizer tokenizer = load_golden("smollm");
  for (const char* name : {"glm-4.6", "llama3", "gemma", "phi-3.5", "qwen3", "mistral-nemo"}) {
    const TokenizedExample example = tokenized(chat(kTurns), tokenizer, name, {TrainOn::kLast});
    bool stops = false;
    for (size_t i = 0; i < example.tokens.size(); ++i) {
      const bool stop = std::ranges::count(tokenizer.stop_ids(), example.tokens[i]) != 0;
      stops = stops || (stop && example.label[i]);
    }
    EXPECT_TRUE(stops) << name;
  }
}

TEST(Tokenize, ATemplateThatRewritesEarlierTurnsMakesASequenceForEachAnswer) {
  const Tokenizer tokenizer = load_golden("smollm");
  for (const char* name : {"qwen3", "phi-3.5", "gpt-oss"}) {
    EXPECT_EQ(error_of(chat(kTurns), tokenizer, name),
              "data.jsonl:3: the chat template renders turn 2 differently when more turns follow; --train-on "
              "last learns the last answer only");
    const ChatTemplate source(golden_template(name));
    Dataset dataset;
    dataset.files = {"data.jsonl"};
    dataset.examples = {chat(kTurns), chat(kTurns)};
    dataset.examples[1].messages[1].get_object()["weight"] = 0;
    const TokenizedDataset set = tokenize_dataset(dataset, tokenizer, &source, {});
    ASSERT_EQ(set.examples.size(), 3u) << name;
    EXPECT_EQ(set.split, 1);
    EXPECT_EQ(set.examples[0].example, 0);
    EXPECT_EQ(set.examples[2].example, 1);
    const Runs answers{"Yes.", "Also.", "Also."};
    for (size_t i = 0; i < 3; ++i) {
      const Runs runs = learned(set.examples[i], tokenizer);
      ASSERT_EQ(runs.size(), 1u) << name;
      EXPECT_NE(runs[0].find(answers[i]), std::string::npos) << name << " " << runs[0];
    }
  }
}

TEST(Tokenize, SaysWhereNoAnswerCanBeLearned) {
  const Tokenizer tokenizer = load_golden("smollm");
  EXPECT_NE(error_of(chat(kTurns), tokenizer, "qwq").find("begins an answer otherwise"), std::string::npos);
  const Example two_users = chat(R"([{"role": "user", "content": "a"}, {"role": "user", "content": "b"},
                                     {"role": "assistant", "content": "c"}])");
  EXPECT_TRUE(error_of(two_users, tokenizer, "llama2").starts_with("data.jsonl:3: chat template: "));
  EXPECT_THROW(tokenize_example(chat(kTurns), tokenizer, nullptr, {}, "x"), Error);
}

constexpr const char* kCalls = R"([{"role": "user", "content": "Weather?"},
  {"role": "assistant", "content": null, "tool_calls": [{"id": "abcdefghi", "type": "function",
    "function": {"name": "look", "arguments": "{\"city\": \"Bern\"}"}}]},
  {"role": "tool", "content": "rain", "tool_call_id": "abcdefghi"}, {"role": "assistant", "content": "Rain."}])";
constexpr const char* kTools = R"([{"type": "function", "function": {"name": "look", "description": "d",
  "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}])";

TEST(Tokenize, CallsOfToolsAreLearnedAsTheyAreServed) {
  const Tokenizer tokenizer = load_golden("smollm");
  const std::string call =
      "<tool_call>\n{\"name\": \"look\", \"arguments\": {\"city\": \"Bern\"}}\n</tool_call>";
  EXPECT_EQ(learned(tokenized(chat(kCalls, kTools), tokenizer, "qwen2.5"), tokenizer),
            (Runs{call + "<|im_end|>\n", "Rain.<|im_end|>\n"}));
  // A template that knows no tools.
  const Runs plain = learned(tokenized(chat(kCalls, kTools), tokenizer, "smollm2"), tokenizer);
  ASSERT_EQ(plain.size(), 2u);
  EXPECT_TRUE(plain[0].starts_with("<tool_call>\n{\"name\":\"look\"")) << plain[0];
  EXPECT_EQ(plain[1], "Rain.<|im_end|>\n");
}

TEST(Tokenize, CutsAtTheEnd) {
  const Tokenizer tokenizer = load_golden("smollm");
  const TokenizedExample whole = tokenized(chat(kTurns), tokenizer, "smollm2");
  const int most = static_cast<int>(whole.tokens.size()) - 3;
  const TokenizedExample cut = tokenized(chat(kTurns), tokenizer, "smollm2", {TrainOn::kAssistant, most});
  EXPECT_TRUE(cut.truncated);
  EXPECT_EQ(static_cast<int>(cut.tokens.size()), most);
  EXPECT_EQ(cut.label.size(), cut.tokens.size());
  EXPECT_EQ(cut.labels, whole.labels - 3);
}

TEST(Tokenize, PromptAndCompletionAreJoinedAsTheyAre) {
  const Tokenizer tokenizer = load_golden("smollm");
  Example example = chat(R"([{"role": "user", "content": "2+2 ="}, {"role": "assistant", "content": " 4"}])");
  example.templated = false;
  const TokenizedExample out = tokenize_example(example, tokenizer, nullptr, {}, "x");
  EXPECT_EQ(learned(out, tokenizer), Runs{" 4" + tokenizer.token_bytes(*tokenizer.eos())});
  EXPECT_EQ(tokenizer.decode(out.tokens), "2+2 = 4");
}

TEST(Tokenize, ATextIsLearnedWholeInWindows) {
  for (const char* style : {"smollm", "llama2"}) {
    const Tokenizer tokenizer = load_golden(style);
    Dataset dataset;
    dataset.files = {"book.txt"};
    dataset.examples.resize(1);
    for (int i = 0; i < 40; ++i) dataset.examples[0].text += "It was night and a wind blew. ";
    const TokenizedExample whole =
        tokenize_example(dataset.examples[0], tokenizer, nullptr, {TrainOn::kAssistant, 1 << 20}, "x");
    EXPECT_EQ(whole.labels, static_cast<int>(whole.tokens.size()) - 1);
    EXPECT_EQ(whole.tokens.back(), *tokenizer.eos());
    const TokenizedDataset set = tokenize_dataset(dataset, tokenizer, nullptr, {TrainOn::kAssistant, 64});
    std::vector<int32_t> joined;
    for (const TokenizedExample& window : set.examples) {
      EXPECT_LE(window.tokens.size(), 64u);
      EXPECT_FALSE(window.truncated);
      EXPECT_EQ(window.labels, static_cast<int>(window.tokens.size()) - 1);
      const bool repeated = !joined.empty() && tokenizer.adds_bos();
      EXPECT_TRUE(!tokenizer.adds_bos() || window.tokens[0] == *tokenizer.bos());
      joined.insert(joined.end(), window.tokens.begin() + repeated, window.tokens.end());
    }
    EXPECT_GT(set.examples.size(), 3u);
    EXPECT_EQ(joined, whole.tokens) << style;
  }
}

// On every tokenizer there is, on its strings: those that the tokens spell out, and those that it rewrites.
TEST(TokenSpans, CountTheTokensBeforeAPosition) {
  int spelled = 0, rewritten = 0;
  const json::array strings = read_golden("strings.json").as_array();
  for (const char* style :
       {"smollm", "gpt2", "llama2", "llama3", "qwen2", "gemma", "mistral", "mixed", "words"}) {
    const Tokenizer tokenizer = load_golden(style);
    for (const json::value& value : strings) {
      const std::string text(value.as_string());
      const std::vector<int32_t> tokens = encode_rendered(tokenizer, text);
      const std::vector<size_t> positions{0, text.size() / 2, text.size()};
      const std::vector<size_t> counts = tokens_before(tokenizer, tokens, text, positions);
      EXPECT_TRUE(std::ranges::is_sorted(counts)) << style << " " << printable(text);
      EXPECT_LE(counts[2], tokens.size());
      (token_begins(tokenizer, tokens, text) ? spelled : rewritten) += 1;
    }
  }
  EXPECT_GT(spelled, 500);
  EXPECT_GT(rewritten, 50);
}

TEST(TokenSpans, ATokenBelongsToWhereItBegins) {
  const Tokenizer tokenizer = load_golden("smollm");
  const std::string text = "the answer";
  const std::vector<int32_t> tokens = encode_rendered(tokenizer, text);
  const auto begins = token_begins(tokenizer, tokens, text);
  ASSERT_TRUE(begins);
  const std::vector<size_t> positions{begins->at(1), begins->at(1) + 1};
  EXPECT_EQ(tokens_before(tokenizer, tokens, text, positions), (std::vector<size_t>{1, 2}));
}

}  // namespace
}  // namespace chorus
