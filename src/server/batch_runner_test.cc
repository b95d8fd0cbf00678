#include "server/batch_runner.h"

#include <gtest/gtest.h>

#include <map>

#include "engine/fake_model.h"
#include "formats/test_files.h"
#include "server/api_test_model.h"
#include "server/batch_output.h"

namespace chorus {
namespace {

EngineConfig engine_config() {
  EngineConfig config;
  config.model_id = "fake";
  config.vocab = test_tokenizer().vocab_size();
  config.context_length = kTestContext;
  config.pages = 256;
  config.max_rows = 96;
  config.max_sequences = 6;
  config.max_queue = 10;
  return config;
}

class BatchRunnerTest : public testing::Test {
 protected:
  explicit BatchRunnerTest(EngineConfig config = engine_config())
      : fake(config.vocab, config.pages), engine(std::move(config), [this](const Batch& batch, auto logits) {
          if (broken) fail("a broken model");
          most_sequences = std::max(most_sequences, batch.sequences.size());
          fake.forward(batch, logits);
        }) {}

  BatchHooks hooks() {
    return {[this](const BatchResult& r) {
              EXPECT_TRUE(results.emplace(r.line, r).second) << "two results of line " << r.line;
            },
            [this](const BatchCounts&) { ++steps; }, [this] { return steps >= stop_after; }};
  }

  bool run(std::string_view text, const BatchOptions& options = {},
           const std::unordered_set<size_t>& skip = {}) {
    const std::vector<BatchLine> lines = split_batch_lines(text);
    BatchRunner runner(engine, model, hooks(), options);
    const bool complete = runner.run(lines, skip);
    EXPECT_TRUE(engine.idle());
    counts = runner.counts();
    return complete;
  }

  json::value result(size_t line) { return json::parse(results.at(line).json); }

  FakeModel fake;
  bool broken = false;
  size_t most_sequences = 0;
  Engine engine;
  ApiModel model = test_model();
  std::map<size_t, BatchResult> results;
  BatchCounts counts;
  int steps = 0, stop_after = 1 << 30;
};

std::string line(std::string_view id, std::string_view body, std::string_view url = "/v1/completions") {
  return fmt::format(R"({{"custom_id":"{}","method":"POST","url":"{}","body":{}}})", id, url, body) + "\n";
}

std::string ordinary(int i) {
  const char* const kModels[] = {"base", "elf", "villain", "elf@0.5+villain@0.25"};
  return line(fmt::format("r{}", i),
              fmt::format(R"({{"model":"{}","prompt":"Number {}","max_tokens":{},"n":{},"stop":"e"}})",
                          kModels[i % 4], i, 3 + i % 7, 1 + i % 3));
}

std::string many(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += ordinary(i);
  return text;
}

TEST_F(BatchRunnerTest, AnswersEveryLine) {
  EXPECT_TRUE(run(many(40)));
  EXPECT_EQ(results.size(), 40u);
  EXPECT_EQ(counts.done, 40u);
  EXPECT_EQ(counts.total, 40u);
  EXPECT_EQ(counts.failed, 0u);
  EXPECT_GT(most_sequences, 4u);
  EXPECT_GT(engine.stats().cancelled, 0u);  // what met its stop string does not run on
  const json::value first = result(1);
  EXPECT_EQ(first.at("custom_id"), "r0");
  EXPECT_EQ(first.at("id"), "batch_req_1");
  EXPECT_TRUE(first.at("error").is_null());
  EXPECT_EQ(first.at("response").at("status_code"), 200);
  EXPECT_EQ(first.at("response").at("body").at("object"), "text_completion");
  EXPECT_EQ(result(4).at("response").at("body").at("model"), "elf@0.5+villain@0.25");
  uint64_t output = 0;
  for (const auto& [number, r] : results)
    output +=
        result(number).at("response").at("body").at("usage").at("completion_tokens").to_number<uint64_t>();
  EXPECT_EQ(counts.output_tokens, output);
}

TEST_F(BatchRunnerTest, EachAnswerIsTheSameAlone) {
  ASSERT_TRUE(run(many(40)));
  const auto together = std::exchange(results, {});
  most_sequences = 0;
  BatchOptions options;
  options.one_by_one = true;
  options.tenant = "other";
  ASSERT_TRUE(run(many(40), options));
  EXPECT_LE(most_sequences, 3u);  // n of one request
  ASSERT_EQ(results.size(), together.size());
  for (const auto& [number, r] : results) {
    EXPECT_EQ(r.answer, together.at(number).answer) << r.custom_id;
    EXPECT_FALSE(r.answer.empty());
  }
}

TEST_F(BatchRunnerTest, TheSeedIsThatOfTheCustomId) {
  const char* const kBody = R"({"prompt":"a","max_tokens":8,"ignore_eos":true})";
  ASSERT_TRUE(run(line("a", kBody) + line("b", kBody)));
  const std::string first = results.at(1).answer;
  EXPECT_NE(first, results.at(2).answer);
  results.clear();
  ASSERT_TRUE(run(line("b", kBody) + line("a", kBody)));
  EXPECT_EQ(results.at(2).answer, first);
}

TEST_F(BatchRunnerTest, ABadLineEndsNothingButItself) {
  const std::string good = R"({"prompt":"a","max_tokens":2})";
  const std::string text =
      "{\"custom_id\": oops}\n\n[1]\n" + line("a", good) + line("a", good) +
      R"({"method":"POST","url":"/v1/completions","body":{}})" + "\n" + line("url", good, "/v1/embeddings") +
      line("n", R"({"prompt":"a","n":99})") + line("model", R"({"prompt":"a","model":"nobody"})") +
      line("stream", R"({"prompt":"a","stream":true})") + line("chat", good, "/v1/chat/completions") +
      R"({"custom_id":"get","method":"GET","url":"/v1/completions","body":{}})" + "\n" +
      R"({"custom_id":"none","method":"POST","url":"/v1/completions"})" + "\n" + line("last", good);
  EXPECT_TRUE(run(text));
  EXPECT_EQ(results.size(), 13u);
  EXPECT_EQ(counts.failed, 11u);
  const auto error = [&](size_t number) { return result(number).at("error"); };
  EXPECT_TRUE(result(1).at("custom_id").is_null());
  EXPECT_NE(error(1).at("message").as_string().find("line 1"), std::string::npos);
  EXPECT_NE(error(3).at("message").as_string().find("line 3"), std::string::npos);
  EXPECT_TRUE(error(4).is_null());
  EXPECT_EQ(error(5).at("param"), "custom_id");
  EXPECT_EQ(result(5).at("custom_id"), "a");
  EXPECT_TRUE(result(5).at("response").is_null());
  EXPECT_EQ(error(6).at("param"), "custom_id");
  EXPECT_EQ(error(7).at("param"), "url");
  EXPECT_EQ(error(8).at("param"), "n");
  EXPECT_EQ(error(9).at("code"), "model_not_found");
  EXPECT_EQ(error(10).at("param"), "stream");
  EXPECT_EQ(error(11).at("param"), "prompt");
  EXPECT_EQ(error(12).at("param"), "method");
  EXPECT_EQ(error(13).at("param"), "body");
  EXPECT_TRUE(error(14).is_null());
}

TEST_F(BatchRunnerTest, ALineWiderThanTheQueueIsFedInPieces) {
  std::string prompts;
  for (int i = 0; i < 40; ++i) prompts += fmt::format("{}\"p{}\"", i == 0 ? "" : ",", i);
  ASSERT_TRUE(run(ordinary(0) + line("wide", fmt::format(R"({{"prompt":[{}],"max_tokens":3}})", prompts)) +
                  ordinary(1)));
  EXPECT_EQ(counts.failed, 0u);
  EXPECT_EQ(result(2).at("response").at("body").at("choices").as_array().size(), 40u);
}

TEST_F(BatchRunnerTest, AFailureOfTheModelIsTheRequestsError) {
  broken = true;
  EXPECT_TRUE(run(many(3)));
  EXPECT_EQ(counts.failed, 3u);
  EXPECT_EQ(result(1).at("error").at("type"), "server_error");
}

TEST_F(BatchRunnerTest, StopsWithWhatItHas) {
  stop_after = 6;
  EXPECT_FALSE(run(many(60)));
  EXPECT_GT(results.size(), 0u);
  EXPECT_LT(results.size(), 60u);
  for (const auto& [number, r] : results) EXPECT_FALSE(r.failed);
}

TEST_F(BatchRunnerTest, ResumedResultsAreThoseOfOneRun) {
  const std::string text =
      many(20) + ordinary(3) + "bad\n" + many(0) + ordinary(21);  // line 21: a custom_id again
  ASSERT_TRUE(run(text));
  const auto whole = std::exchange(results, {});
  stop_after = steps = 0;
  stop_after = 8;
  ASSERT_FALSE(run(text));
  std::unordered_set<size_t> finished;
  for (const auto& [number, r] : results) finished.insert(number);
  ASSERT_GT(finished.size(), 0u);
  stop_after = 1 << 30;
  ASSERT_TRUE(run(text, {}, finished));
  EXPECT_EQ(counts.total, whole.size() - finished.size());
  ASSERT_EQ(results.size(), whole.size());
  for (const auto& [number, r] : results) EXPECT_EQ(r.json, whole.at(number).json);
}

TEST_F(BatchRunnerTest, AHookThatThrowsLeavesTheEngineIdle) {
  const std::string text = many(20);
  const std::vector<BatchLine> lines = split_batch_lines(text);
  {
    BatchRunner runner(engine, model, {[](const BatchResult&) { fail("disk full"); }, nullptr, nullptr});
    EXPECT_THROW(runner.run(lines), Error);
  }
  EXPECT_TRUE(engine.idle());
}

TEST(BatchLines, BlankOnesAreCountedButLeftOut) {
  const std::vector<BatchLine> lines = split_batch_lines("a\r\n\n \t\nb");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].number, 1u);
  EXPECT_EQ(lines[1].number, 4u);
  EXPECT_EQ(lines[1].text, "b");
  EXPECT_TRUE(split_batch_lines("").empty());
}

class BatchOutputTest : public testing::Test {
 protected:
  ~BatchOutputTest() override { std::filesystem::remove(path + ".partial"); }
  static BatchResult result(size_t number) {
    return {number, "x", false, fmt::format(R"({{"id":"batch_req_{}"}})", number), ""};
  }
  std::string content(const std::string& of) {
    std::ifstream in(of);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  TestFile file{"old"};
  std::string path = file.path();
};

TEST_F(BatchOutputTest, TheFileIsInOrderAndAppearsAtTheEnd) {
  BatchOutput output(path, "f");
  for (const size_t number : {3u, 1u, 2u}) output.add(result(number));
  EXPECT_EQ(content(path), "old");
  output.commit();
  EXPECT_EQ(content(path), "{\"id\":\"batch_req_1\"}\n{\"id\":\"batch_req_2\"}\n{\"id\":\"batch_req_3\"}\n");
  EXPECT_FALSE(std::filesystem::exists(output.partial_path()));
}

TEST_F(BatchOutputTest, GoesOnFromWhatIsThereButNotFromHalfALine) {
  {
    BatchOutput output(path, "f");
    output.add(result(2));
  }
  std::ofstream(path + ".partial", std::ios::app) << R"({"id":"batch_re)";
  BatchOutput output(path, "f");
  EXPECT_EQ(output.finished(), (std::unordered_set<size_t>{2}));
  output.add(result(1));
  output.commit();
  EXPECT_EQ(content(path), "{\"id\":\"batch_req_1\"}\n{\"id\":\"batch_req_2\"}\n");
}

TEST_F(BatchOutputTest, RefusesThePartialResultsOfOtherWork) {
  { BatchOutput output(path, "f"); }
  EXPECT_THROW(BatchOutput(path, "g"), Error);
  std::ofstream(path + ".partial", std::ios::trunc) << "something of the user's";
  EXPECT_THROW(BatchOutput(path, "f"), Error);
  EXPECT_EQ(content(path + ".partial"), "something of the user's");
}

TEST_F(BatchOutputTest, NoRequestsMakeAnEmptyFile) {
  BatchOutput output(path, "f");
  output.commit();
  EXPECT_EQ(content(path), "");
}

}  // namespace
}  // namespace chorus
