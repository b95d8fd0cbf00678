#include "formats/json.h"

#include "formats/test_files.h"

namespace chorus {
namespace {

std::string nested(size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

TEST(Json, ParsesEveryKindOfValue) {
  const json::value value = parse_json(
      R"({"a": [1, -2, 18446744073709551615, 1.5, true, null], "b\n": "\u00e9x\ud83d\ude00"})", "t");
  const json::array& list = value.at("a").as_array();
  EXPECT_EQ(list[1].as_int64(), -2);
  EXPECT_EQ(list[2].as_uint64(), UINT64_MAX);
  EXPECT_EQ(list[3].as_double(), 1.5);
  EXPECT_TRUE(list[4].as_bool());
  EXPECT_TRUE(list[5].is_null());
  EXPECT_EQ(value.at("b\n").as_string(), "\u00e9x\U0001F600");
}

TEST(Json, NumbersRoundToTheNearestDouble) {
  for (const char* text :
       {"1e-5", "1.7976931348623157e308", "5e-324", "0.1", "123456789012345678901234567890",
        "8.988465674311581e307", "-2.2250738585072011e-308", "9007199254740993.0", "1e-400"}) {
    EXPECT_EQ(parse_json(text, "t").as_double(), std::strtod(text, nullptr)) << text;
  }
}

TEST(Json, RefusesWithLineAndColumn) {
  struct {
    std::string text;
    const char* message;
  } const cases[] = {
      {"", "t: line 1, column 1: "},
      {"{\n  \"a\": 1,\n  \"a\": 2}", "t: line 3, column 5: the key \"a\" occurs twice"},
      {R"({"x": {"\u0061": 1, "a": 2}})", "the key \"a\" occurs twice"},
      {"[1,\n2,\n x]", "t: line 3, column 2: syntax error"},
      {"[1] 2", "t: line 1, column 5: "},
      {"\xEF\xBB\xBF{}", "t: line 1, column 1: "},
      {"[1,]", "column 4: syntax error"},
      {"{'a': 1}", "column 2: syntax error"},
      {"[NaN]", "syntax error"},
      {"// c\n1", "syntax error"},
      {"\"\xFF\"", "t: line 1, column 2: "},
      {"\"a\nb\"", "t: line 1"},
      {"\"\\ud800\"", "t: line 1"},
      {"[1e400]", "a number is too large for a double"},
      {"-1e999", "a number is too large for a double"},
      {std::string(100'000, '9'), "a number is too large for a double"},
      {nested(65), "nested more than 64 levels deep"},
      {std::string(500'000, '['), "nested more than 64 levels deep"},
      {nested(3000), "nested more than 64 levels deep"},
  };
  for (const auto& [text, message] : cases) {
    const std::string error = error_of([&] { parse_json(text, "t"); });
    EXPECT_NE(error.find(message), std::string::npos) << text.substr(0, 40) << " gave " << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    EXPECT_TRUE(error.starts_with("t: line ")) << error;
  }
  EXPECT_TRUE(parse_json(nested(64), "t").is_array());
}

TEST(Json, EqualKeysOfDifferentObjectsAreFine) {
  EXPECT_EQ(parse_json(R"([{"a": 1}, {"a": {"a": 2}}])", "t").at(1).at("a").at("a").as_int64(), 2);
}

TEST(Json, ReadsFilesUpToTheLimit) {
  const TestFile file("{\"a\":\n}");
  EXPECT_EQ(error_of([&] { read_json_file(file.path()); }).find(file.path() + ": line 2, column 1: "), 0u);
  EXPECT_NE(error_of([&] { read_json_file(file.path(), 6); }).find("7 bytes; at most 6"), std::string::npos);
}

TEST(Json, RandomDamageNeverCrashes) {
  const std::string whole = R"({"a": [1, -2.5e3, "x\u00e9\n", {"b": null}], "c": {"d": true, "e": [[]]}})";
  std::mt19937 random(1);
  int accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    const std::string damaged = damage(whole, random);
    try {
      parse_json(damaged, "t");
      ++accepted;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(accepted, 10);
}

}  // namespace
}  // namespace chorus
