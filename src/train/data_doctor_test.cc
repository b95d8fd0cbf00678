#include "train/data_doctor.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "formats/tokenizer_golden.h"

namespace chorus {
namespace {

constexpr const char* kTemplate =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

Example chat(std::string_view prompt, std::string_view answer, int line, int file = 0) {
  Example example;
  example.messages = {{{"role", "user"}, {"content", prompt}}, {{"role", "assistant"}, {"content", answer}}};
  example.file = file;
  example.line = line;
  return example;
}

Dataset chats(int count) {
  Dataset set;
  set.files = {"d.jsonl"};
  set.formats = {DataFormat::kChat};
  for (int i = 0; i < count; ++i)
    set.examples.push_back(chat(fmt::format("question {}", i), fmt::format("a long answer {}", i), i + 1));
  return set;
}

// A dataset with what is needed to look at it; without a validation part unless `split` is set.
struct Patient {
  Dataset set;
  TokenizeOptions options;
  Tokenizer tokenizer = load_golden("smollm");
  ChatTemplate source{kTemplate};
  TokenizedDataset tokens;
  std::vector<ContentKeys> keys;
  Split split;

  explicit Patient(Dataset data, TokenizeOptions how = {}) : set(std::move(data)), options(how) {
    tokens = tokenize_dataset(set, tokenizer, &source, options);
    keys = content_keys(set, tokens);
    split = split_by_file(tokens, 1);
  }
  DoctorReport report(bool wants_validation = false) const {
    return examine({set, tokens, split, keys, tokenizer, options, wants_validation});
  }
  Finding finding(std::string_view name, bool wants_validation = false) const {
    for (const Finding& one : report(wants_validation).findings) {
      if (one.name == name) return one;
    }
    return {};
  }
};

using Places = std::vector<std::string>;

TEST(DataDoctor, GoodDataIsFine) {
  const Patient patient(chats(30));
  const DoctorReport report = patient.report();
  EXPECT_EQ(report.verdict(), Verdict::kFine);
  EXPECT_EQ(report.train.sequences, 30);
  EXPECT_EQ(report.files[0].examples, 30);
  int64_t tokens = 0, labels = 0, in_buckets = 0;
  for (const TokenizedExample& one : patient.tokens.examples) {
    tokens += static_cast<int64_t>(one.tokens.size());
    labels += one.labels;
  }
  EXPECT_EQ(report.train.tokens, tokens);
  EXPECT_EQ(report.train.labels, labels);
  for (const LengthBucket& bucket : report.train.lengths) in_buckets += bucket.count;
  EXPECT_EQ(in_buckets, 30);
  EXPECT_LE(report.train.lengths.front().from, report.train.shortest);
  EXPECT_GT(report.train.lengths.back().to, report.train.longest);
}

TEST(DataDoctor, WrongRecords) {
  Dataset set = chats(18);
  set.problems = {{"d.jsonl:7", "why"}, {"d.jsonl:9", "why else"}};
  set.problem_count = 2;
  const Finding some = Patient(set).finding("records");
  EXPECT_EQ(some.verdict, Verdict::kLook);
  EXPECT_EQ(some.text, "2 of 20 records left out");
  EXPECT_EQ(some.places, (Places{"d.jsonl:7: why", "d.jsonl:9: why else"}));
  set.problem_count = 3;
  EXPECT_EQ(Patient(set).finding("records").verdict, Verdict::kStop);
}

TEST(DataDoctor, NothingToLearn) {
  Dataset set = chats(3);
  set.examples[1].messages[1].get_object()["weight"] = 0;
  const Finding some = Patient(set).finding("labels");
  EXPECT_EQ(some.verdict, Verdict::kLook);
  EXPECT_EQ(some.places, Places{"d.jsonl:2"});
  for (Example& example : set.examples) example.messages[1].get_object()["weight"] = 0;
  EXPECT_EQ(Patient(set).finding("labels").verdict, Verdict::kStop);
}

TEST(DataDoctor, CutAndEmptyAndShortAnswers) {
  Dataset set = chats(10);
  set.examples[4].messages[1].get_object()["content"] = std::string(3000, 'z');
  const Finding cut = Patient(set, {TrainOn::kAssistant, 100}).finding("truncated");
  EXPECT_EQ(cut.verdict, Verdict::kLook);
  EXPECT_EQ(cut.places, Places{"d.jsonl:5"});
  EXPECT_EQ(Patient(set).finding("answers").verdict, Verdict::kFine);
  set.examples[6].messages[1].get_object()["content"] = " \n";
  const Finding empty = Patient(set).finding("answers");
  EXPECT_EQ(empty.verdict, Verdict::kLook);
  EXPECT_EQ(empty.places, Places{"d.jsonl:7"});
  for (Example& example : set.examples) example.messages[1].get_object()["content"] = "";
  EXPECT_EQ(Patient(set).finding("answers").verdict, Verdict::kStop);
}

TEST(DataDoctor, Duplicates) {
  Dataset set = chats(10);
  set.examples.push_back(chat("question 3", "a long answer 3", 11));
  set.examples.push_back(chat("Question  5 ", "A long\nanswer 5", 12));
  set.examples.push_back(chat("question 5", "another answer", 13));
  const Finding found = Patient(set).finding("duplicates");
  EXPECT_EQ(found.verdict, Verdict::kLook);
  EXPECT_EQ(found.text, "2 sequences that came before, 1 of them byte for byte");
  EXPECT_EQ(found.places, (Places{"d.jsonl:11 as d.jsonl:4", "d.jsonl:12 as d.jsonl:6"}));
}

TEST(DataDoctor, LeaksIntoValidation) {
  Dataset set = chats(10);
  set.files.push_back("v.jsonl");
  set.formats.push_back(DataFormat::kChat);
  for (int i = 0; i < 5; ++i) set.examples.push_back(chat(fmt::format("fresh {}", i), "an answer", i + 1, 1));
  EXPECT_EQ(Patient(set).finding("leaks", true).verdict, Verdict::kFine);
  set.examples[11] = chat("question 2", "A long answer 2", 2, 1);
  set.examples[13] = chat("QUESTION 4", "another", 4, 1);
  const Finding found = Patient(set).finding("leaks", true);
  EXPECT_EQ(found.verdict, Verdict::kLook);
  EXPECT_EQ(found.text,
            "2 of 5 validation sequences in the training set too: 1 whole, 1 with another answer");
  EXPECT_EQ(found.places, (Places{"v.jsonl:2 as d.jsonl:3", "v.jsonl:4 asks the same as d.jsonl:5"}));
  EXPECT_EQ(Patient(chats(5)).finding("validation", true).verdict, Verdict::kStop);
}

TEST(DataDoctor, ShowsWhatIsLearned) {
  Dataset set = chats(1);
  set.examples[0].messages[0].get_object()["content"] = "esc \x1b[31m";
  const DoctorReport report = Patient(set).report();
  const std::string plain = report_text(report, false);
  EXPECT_NE(plain.find("<|im_start|>assistant\n⟦a long answer 0<|im_end|>\n⟧"), std::string::npos) << plain;
  EXPECT_EQ(plain.find('\x1b'), std::string::npos);
  EXPECT_NE(plain.find("verdict     fine\n"), std::string::npos);
  const std::string coloured = report_text(report, true);
  EXPECT_NE(coloured.find("\x1b[32ma long answer 0<|im_end|>\n\x1b[0m"), std::string::npos) << coloured;
  EXPECT_EQ(coloured.find("esc \x1b"), std::string::npos);
}

TEST(DataDoctor, ForecastAndJson) {
  const Patient patient(chats(10));
  DoctorReport report = patient.report();
  report.forecast = Forecast{300, 3, 100, 2'000'000'000};
  EXPECT_NE(report_text(report, false).find("forecast: 5 min for 3 epochs"), std::string::npos);
  const json::object document = report_json(report);
  EXPECT_NEAR(document.at("forecast").at("seconds").as_double(), 300, 1e-6);
  EXPECT_EQ(document.at("verdict"), "fine");
  EXPECT_EQ(document.at("training").at("sequences"), 10);
  EXPECT_EQ(document.at("checks").as_array().size(), 5u);
}

TEST(SplitValidation, DependsOnContentAndSeedOnly) {
  Dataset set = chats(100);
  const Patient patient(set);
  const Split split = split_validation(patient.keys, 0.1, 7);
  EXPECT_EQ(split.validation.size(), 10u);
  EXPECT_EQ(split.train.size(), 90u);
  std::set<int> lines, lines_reversed;
  for (const int index : split.validation) lines.insert(set.examples[static_cast<size_t>(index)].line);
  std::ranges::reverse(set.examples);
  const Patient reversed(set);
  for (const int index : split_validation(reversed.keys, 0.1, 7).validation)
    lines_reversed.insert(set.examples[static_cast<size_t>(index)].line);
  EXPECT_EQ(lines, lines_reversed);
  EXPECT_NE(split_validation(patient.keys, 0.1, 8).validation, split.validation);
}

TEST(SplitValidation, DuplicatesStayTogether) {
  Dataset set = chats(60);
  for (int i = 0; i < 60; ++i)
    set.examples.push_back(
        chat(fmt::format("QUESTION {}", i), i % 2 == 0 ? "other" : "a long answer", 61 + i));
  Patient patient(set);
  for (uint64_t seed = 0; seed < 5; ++seed) {
    patient.split = split_validation(patient.keys, 0.2, seed);
    EXPECT_EQ(patient.split.validation.size(), 24u);
    EXPECT_EQ(patient.finding("leaks", true).verdict, Verdict::kFine);
  }
}

// A task with one prompt can be split all the same, though not its duplicates.
TEST(SplitValidation, OnePromptForAll) {
  Dataset set;
  set.files = {"d.jsonl"};
  set.formats = {DataFormat::kChat};
  for (int i = 0; i < 40; ++i)
    set.examples.push_back(chat("Say a line.", fmt::format("line {}", i / 2), i + 1));
  Patient patient(set);
  const Split split = split_validation(patient.keys, 0.1, 1);
  EXPECT_EQ(split.validation.size(), 4u);
  patient.split = split;
  EXPECT_EQ(patient.finding("leaks", true).verdict, Verdict::kFine);
  std::set<uint64_t> train;
  for (const int index : split.train) train.insert(patient.keys[static_cast<size_t>(index)].normalized);
  for (const int index : split.validation)
    EXPECT_FALSE(train.contains(patient.keys[static_cast<size_t>(index)].normalized));
}

TEST(SplitValidation, TooLittleIsNotSplit) {
  EXPECT_TRUE(split_validation(Patient(chats(1)).keys, 0.5, 1).validation.empty());
  EXPECT_EQ(split_validation(Patient(chats(2)).keys, 0.01, 1).validation.size(), 1u);
  EXPECT_EQ(split_validation(Patient(chats(2)).keys, 0.9, 1).train.size(), 1u);
}

TEST(SplitValidation, ATextIsSplitByItsWindows) {
  Dataset set;
  set.files = {"book.txt"};
  set.formats = {DataFormat::kText};
  set.examples.resize(1);
  for (int i = 0; i < 300; ++i) set.examples[0].text += fmt::format("Sentence {} of the book. ", i);
  const Patient patient(set, {TrainOn::kAssistant, 64});
  const Split split = split_validation(patient.keys, 0.1, 1);
  EXPECT_GT(patient.tokens.examples.size(), 20u);
  EXPECT_GT(split.validation.size(), 1u);
  EXPECT_EQ(split.train.size() + split.validation.size(), patient.tokens.examples.size());
}

}  // namespace
}  // namespace chorus
