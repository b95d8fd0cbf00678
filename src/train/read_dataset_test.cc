#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "train/data_csv.h"
#include "train/examples.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

class ReadDataset : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) / fmt::format("read_dataset_{}_{}", test->name(), getpid());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, std::string_view text) {
    const std::string path = (folder_ / name).string();
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  Dataset read(const std::string& name, std::string_view text) { return read_dataset({write(name, text)}); }
  // Without the folder.
  std::string error_of(const std::string& name, std::string_view text) {
    try {
      read(name, text);
    } catch (const Error& error) {
      return local(error.what());
    }
    return "";
  }
  std::string local(std::string text) const {
    const std::string prefix = folder_.string() + "/";
    for (size_t at = text.find(prefix); at != std::string::npos; at = text.find(prefix))
      text.erase(at, prefix.size());
    return text;
  }
  // The only problem.
  std::string problem_of(const std::string& name, std::string_view text) {
    const Dataset set = read(name, text);
    EXPECT_EQ(set.problems.size(), 1u);
    EXPECT_EQ(set.problem_count, 1);
    return set.problems.empty() ? "" : local(set.problems[0].where + ": " + set.problems[0].what);
  }

  fs::path folder_;
};

const std::string kGood =
    R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})"
    "\n";

std::string turns_of(const Example& example) {
  std::string text;
  for (const json::value& turn : example.messages) {
    const json::value& content = turn.at("content");
    text += fmt::format("{}:{};", std::string_view(turn.at("role").as_string()),
                        content.is_string() ? std::string_view(content.get_string()) : "null");
  }
  return text;
}

TEST_F(ReadDataset, FindsOutTheForm) {
  struct Case {
    const char* text;
    DataFormat format;
    const char* turns;
  };
  const Case cases[] = {
      {R"({"messages": [{"role": "developer", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "c"}]}, {"role": "assistant", "content": "b"}]})",
       DataFormat::kChat, "system:s;user:a\nc;assistant:b;"},
      {R"({"prompt": "a", "completion": "b"})", DataFormat::kCompletion, "user:a;assistant:b;"},
      {R"({"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]})",
       DataFormat::kCompletion, "user:a;assistant:b;"},
      {R"({"instruction": "a", "input": "", "output": "b"})", DataFormat::kAlpaca, "user:a;assistant:b;"},
      {R"({"instruction": "a", "input": "x", "output": "b", "system": "s", "history": [["q", "r"]]})",
       DataFormat::kAlpaca, "system:s;user:q;assistant:r;user:a\nx;assistant:b;"},
      {R"({"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]})",
       DataFormat::kShareGpt, "system:s;user:a;assistant:b;"},
      {R"({"conversations": [{"from": "user", "value": "a"}, {"from": "assistant", "value": "b"}]})",
       DataFormat::kShareGpt, "user:a;assistant:b;"},
      {R"({"conversations": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})",
       DataFormat::kShareGpt, "user:a;assistant:b;"},
      {R"({"text": "once"})", DataFormat::kText, ""},
  };
  for (const Case& one : cases) {
    for (const char* name : {"d.jsonl", "d.json", "d.txt"}) {
      const Dataset set = read(name, one.text);
      ASSERT_EQ(set.examples.size(), 1u) << one.text;
      EXPECT_EQ(set.formats[0], one.format) << one.text;
      EXPECT_EQ(turns_of(set.examples[0]), one.turns);
      EXPECT_EQ(set.examples[0].line, 1);
      const bool strings = one.format == DataFormat::kCompletion && std::string_view(one.text)[11] == '"';
      EXPECT_EQ(set.examples[0].templated, !strings) << one.text;
    }
  }
  EXPECT_EQ(read("d.jsonl", R"({"text": "once"})").examples[0].text, "once");
}

TEST_F(ReadDataset, CallsOfToolsComeThrough) {
  const std::string calls =
      R"([{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}])";
  const std::string tools = R"([{"type": "function", "function": {"name": "f"}}])";
  const Dataset set =
      read("d.jsonl", R"({"tools": )" + tools + R"(, "messages": [{"role": "user", "content": "a"}, )" +
                          R"({"role": "assistant", "content": null, "tool_calls": )" + calls +
                          R"(}, {"role": "tool", "content": "r", "tool_call_id": "1"}, )" +
                          R"({"role": "assistant", "content": "b", "weight": 0}]})");
  ASSERT_EQ(set.examples.size(), 1u);
  const Example& example = set.examples[0];
  EXPECT_EQ(turns_of(example), "user:a;assistant:null;tool:r;assistant:b;");
  EXPECT_EQ(example.messages[1].at("tool_calls"), json::parse(calls));
  EXPECT_EQ(example.messages[3].at("weight"), 0);
  EXPECT_EQ(example.tools, json::parse(tools).as_array());

  const Dataset shared =
      read("e.jsonl", R"({"tools": "[{\"name\": \"f\"}]", "conversations": [)"
                      R"({"from": "human", "value": "a"}, {"from": "function_call", "value":)"
                      R"( "{\"name\": \"f\", \"arguments\": {}}"}, {"from": "observation",)"
                      R"( "value": "r"}, {"from": "gpt", "value": "b"}]})");
  ASSERT_EQ(shared.examples.size(), 1u);
  EXPECT_EQ(turns_of(shared.examples[0]), "user:a;assistant:;tool:r;assistant:b;");
  EXPECT_EQ(shared.examples[0].messages[1].at("tool_calls").at(0).at("function").at("name"), "f");
  EXPECT_EQ(shared.examples[0].tools.size(), 1u);
}

TEST_F(ReadDataset, LinesMayEndAsTheyLike) {
  const std::string record = kGood.substr(0, kGood.size() - 1);
  const Dataset set = read("d.jsonl", "\xEF\xBB\xBF" + record + "\r\n\r\n   \n" + record + "\r\n\n" + record);
  ASSERT_EQ(set.examples.size(), 3u);
  EXPECT_EQ(set.examples[0].line, 1);
  EXPECT_EQ(set.examples[1].line, 4);
  EXPECT_EQ(set.examples[2].line, 6);
  EXPECT_TRUE(set.problems.empty());
}

TEST_F(ReadDataset, OneArrayOrOneRecordOverManyLines) {
  const std::string record = "{\n  \"text\": \"a \\\" ] , } b\"\n}";
  const Dataset list = read("d.json", "[\n" + record + ",\n" + record + "\n]\n");
  ASSERT_EQ(list.examples.size(), 2u);
  EXPECT_EQ(list.examples[1].line, 5);
  EXPECT_EQ(list.examples[1].text, "a \" ] , } b");
  EXPECT_EQ(read("d.json", record).examples.size(), 1u);
  EXPECT_EQ(problem_of("d.json", "[" + record + ", {\"text\": }]"),
            "d.json:3: not JSON: column 10: syntax error");
  EXPECT_EQ(problem_of("d.json", "[" + record + "\n" + record + "]"),
            "d.json:4: not JSON: no comma between two records");
  EXPECT_EQ(problem_of("d.json", "[" + record + ",\n {\"text\": \"b\""),
            "d.json:4: a record is missing or does not end");
  EXPECT_EQ(problem_of("d.json", "[" + record + "] 3"),
            "d.json:3: not JSON: text after the end of the records");
}

TEST_F(ReadDataset, AnArrayGoesOnBehindWhatIsNoRecord) {
  const Dataset set = read("d.json", "[\"a, ]\", 3,\n{\"text\": \"b\"}, }, {\"text\": \"c\"}]");
  EXPECT_EQ(set.problem_count, 3);
  ASSERT_EQ(set.examples.size(), 2u);
  EXPECT_EQ(set.examples[0].line, 2);
}

TEST_F(ReadDataset, AWrongRecordIsAProblemWithItsLine) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"messages": [})", "not JSON: column 15: syntax error"},
      {R"([1])",
       "a record must be an object with \"messages\"; \"prompt\" and \"completion\"; "
       "\"instruction\" and \"output\"; \"conversations\"; or \"text\""},
      {R"({"question": 1, "answer": 2})",
       "the keys \"question\", \"answer\"; must have \"messages\"; \"prompt\" and \"completion\"; "
       "\"instruction\" and \"output\"; \"conversations\"; or \"text\""},
      {R"({"messages": "a"})", "\"messages\" must be a list of turns"},
      {R"({"messages": []})", "0 turns; must be two or more"},
      {R"({"messages": [{"role": "user", "content": "a"}, {"role": "bot", "content": "b"}]})",
       "turn 2: the role \"bot\"; must be one of system, developer, user, assistant, tool"},
      {R"({"messages": [{"role": "user"}]})", "turn 1: no \"content\""},
      {R"({"messages": [{"content": "a"}]})", "turn 1: no \"role\"; must be a string"},
      {R"({"messages": [{"role": "user", "content": 3}]})", "turn 1: \"content\" must be a string"},
      {R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})",
       "turn 1: a part of \"content\" is not of type \"text\"; only text can be learned"},
      {R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": null}]})",
       "turn 2: no \"content\""},
      {R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 2}]})",
       "turn 2: \"weight\" must be 0 or 1"},
      {R"({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]})",
       "the last turn is of the user; must be of the assistant"},
      {R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [{}]}]})",
       "turn 2: a call needs \"function\", an object of \"name\" and \"arguments\""},
      {R"({"prompt": "a", "completion": [1]})",
       "\"prompt\" and \"completion\" must both be strings, or both lists of turns"},
      {R"({"instruction": "a", "output": 1})", "\"output\" must be a string"},
      {R"({"conversations": [{"from": "alien", "value": "a"}]})",
       "turn 1: from \"alien\"; must be human, gpt, system, user, assistant, function_call or observation"},
      {R"({"text": " "})", "\"text\" is empty"},
      {"{\"text\": \"\xff\"}", "not UTF-8 text; save the file as UTF-8"},
  };
  for (const auto& [record, problem] : cases)
    EXPECT_EQ(problem_of("d.jsonl", kGood + record + "\n" + kGood), std::string("d.jsonl:2: ") + problem);
}

TEST_F(ReadDataset, BoundsRecordsTurnsAndProblems) {
  const std::string long_line = R"({"text": ")" + std::string(kMaxRecordBytes, 'x') + "\"}\n";
  EXPECT_EQ(problem_of("d.jsonl", long_line + kGood),
            fmt::format("d.jsonl:1: a record of {} bytes; at most {} can be learned", long_line.size() - 1,
                        kMaxRecordBytes));
  EXPECT_EQ(read("d.jsonl", R"({"text": ")" + std::string(65536, 'x') + "\"}\n").examples.size(), 1u);
  std::string turns = R"({"messages": [{"role": "user", "content": "a"})";
  for (size_t i = 0; i < kMaxTurns; ++i) turns += R"(, {"role": "assistant", "content": "a"})";
  EXPECT_EQ(problem_of("d.jsonl", kGood + turns + "]}"),
            "d.jsonl:2: 1025 turns; at most 1024 can be learned");
  std::string bad;
  for (size_t i = 0; i < kMaxProblems + 100; ++i) bad += "x\n";
  const Dataset set = read("d.jsonl", kGood + bad);
  EXPECT_EQ(set.problems.size(), kMaxProblems);
  EXPECT_EQ(set.problem_count, static_cast<int64_t>(kMaxProblems) + 100);
  EXPECT_EQ(problem_of("d.jsonl", kGood + std::string(1 << 20, '[')),
            "d.jsonl:2: not JSON: column 65: nested more than 64 levels deep");
  EXPECT_EQ(problem_of("d.json", "[{\"text\": \"a\"}," + std::string(1 << 20, '[') + "]"),
            "d.json:1: a record is missing or does not end");
}

TEST_F(ReadDataset, AFileOfNoKnownFormIsRefused) {
  EXPECT_EQ(
      error_of("d.jsonl", R"({"q": 1})"),
      "d.jsonl:1: the keys \"q\"; must have \"messages\"; \"prompt\" and \"completion\"; \"instruction\" and "
      "\"output\"; \"conversations\"; or \"text\"");
  EXPECT_EQ(error_of("d.jsonl", "hello"),
            "d.jsonl: begins with \"hello\"; must be JSON records, or a .csv or .txt file");
  EXPECT_EQ(error_of("d.parquet", "PAR1..."),
            "d.parquet: a Parquet file; must be JSONL, JSON, CSV or plain text in UTF-8");
  EXPECT_EQ(error_of("d.txt", "\xff\xfeh"),
            "d.txt: UTF-16 text; must be JSONL, JSON, CSV or plain text in UTF-8");
  EXPECT_EQ(error_of("d.jsonl", "\n \n"), "d.jsonl: no record");
  EXPECT_EQ(error_of("d.jsonl", ""), "d.jsonl: no record");
  EXPECT_EQ(error_of("d.jsonl", R"({"messages": []})"),
            "d.jsonl:1: 0 turns; must be two or more (and no good record in 1 of 1)");
  EXPECT_EQ(
      error_of("d.csv", "a,b\n1,2\n"),
      "d.csv: the header has the columns a, b; must have \"prompt\" and \"completion\"; \"instruction\" and "
      "\"output\"; \"user\" and \"assistant\"; or \"text\"");
  EXPECT_EQ(error_of("d.txt", "caf\xe9"),
            "d.txt:1: not UTF-8 text; save the file as UTF-8 (and no good record in 1 of 1)");
  EXPECT_THROW(read_dataset({(folder_ / "none.jsonl").string()}), Error);
  EXPECT_THROW(read_dataset({folder_.string() + "/sub"}), Error);
}

TEST_F(ReadDataset, PlainTextIsOneExample) {
  const Dataset set = read("d.txt", "\xEF\xBB\xBFOne.\r\n\r\nTwo.\n{\"text\": 1}\n");
  ASSERT_EQ(set.examples.size(), 1u);
  EXPECT_EQ(set.examples[0].text, "One.\r\n\r\nTwo.\n{\"text\": 1}\n");
  EXPECT_EQ(set.formats[0], DataFormat::kText);
}

TEST_F(ReadDataset, Csv) {
  const Dataset set = read("d.csv",
                           "prompt,completion,note\r\n"
                           "a,b,1\r\n"
                           "\"a, \"\"b\"\"\nc\",d,\r\n"
                           "\n"
                           "short,row\n"
                           "\"a\"x,b,c\n"
                           "e,f,g");
  ASSERT_EQ(set.examples.size(), 3u);
  EXPECT_EQ(set.formats[0], DataFormat::kCsv);
  EXPECT_EQ(turns_of(set.examples[1]), "user:a, \"b\"\nc;assistant:d;");
  EXPECT_FALSE(set.examples[1].templated);
  EXPECT_EQ(set.examples[1].line, 3);
  EXPECT_EQ(set.examples[2].line, 8);
  ASSERT_EQ(set.problems.size(), 2u);
  EXPECT_EQ(local(set.problems[0].where), "d.csv:6");
  EXPECT_EQ(set.problems[0].what, "2 fields; the header has 3");
  EXPECT_EQ(local(set.problems[1].where), "d.csv:7");
  EXPECT_EQ(set.problems[1].what, "text after the closing quote of field 1; quotes within are written twice");

  const Dataset roles = read("e.csv", "system,user,assistant\n,a,b\ns,c,d\n");
  EXPECT_EQ(turns_of(roles.examples[0]), "user:a;assistant:b;");
  EXPECT_EQ(turns_of(roles.examples[1]), "system:s;user:c;assistant:d;");
  EXPECT_TRUE(roles.examples[0].templated);
  EXPECT_EQ(turns_of(read("f.csv", "output,instruction,input\nb,a,x").examples[0]), "user:a\nx;assistant:b;");
  EXPECT_EQ(read("g.csv", "id,text\n1,once\n").examples[0].text, "once");
  EXPECT_EQ(problem_of("h.csv", "text\nok\n\"never\nends"), "h.csv:3: a quoted field does not end");
  EXPECT_EQ(problem_of("i.csv", "text\nok\ncaf\xe9\n"), "i.csv:3: not UTF-8 text; save the file as UTF-8");
}

TEST_F(ReadDataset, DirectoriesInOrder) {
  write("b.jsonl", kGood);
  write("a.txt", "text");
  write("c.md", "not data");
  write(".hidden.jsonl", "x");
  fs::create_directories(folder_ / "deeper.jsonl");
  Dataset set = read_dataset({folder_.string()});
  ASSERT_EQ(set.files.size(), 2u);
  EXPECT_EQ(local(set.files[0]), "a.txt");
  EXPECT_EQ(set.examples[1].file, 1);
  append_dataset(set, read("z.jsonl", kGood));
  EXPECT_EQ(set.files.size(), 3u);
  EXPECT_EQ(set.examples[2].file, 2);
}

}  // namespace
}  // namespace chorus
