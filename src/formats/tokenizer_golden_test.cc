#include "formats/tokenizer_golden.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "formats/unicode.h"

namespace chorus {
namespace {

using Ids = std::vector<int32_t>;

std::string show(const Ids& ids) { return fmt::format("[{}]", fmt::join(ids, ",")); }

const json::value& row(const json::object& golden, const char* key, size_t i, const json::value& otherwise) {
  const json::value* found = golden.at(key).as_object().if_contains(std::to_string(i));
  return found == nullptr ? otherwise : *found;
}

class Golden : public testing::TestWithParam<const char*> {};

TEST_P(Golden, EveryStringGivesTheSameIds) {
  const Tokenizer tokenizer = load_golden(GetParam());
  for (const std::string& line : golden_differences(tokenizer, GetParam())) ADD_FAILURE() << line;
}

TEST_P(Golden, StreamedTextEqualsDecodedText) {
  const Tokenizer tokenizer = load_golden(GetParam());
  for (const std::string& text_in : golden_strings()) {
    const Ids ids = tokenizer.encode(text_in, {});
    StreamDecoder stream(tokenizer);
    std::string text;
    for (const int32_t id : ids) {
      const std::string part = stream.push(id);
      EXPECT_EQ(to_valid_utf8(part), part);
      text += part;
    }
    text += stream.finish();
    EXPECT_EQ(text, to_valid_utf8(tokenizer.decode(ids)));
  }
}

INSTANTIATE_TEST_SUITE_P(Styles, Golden,
                         testing::Values("llama3", "qwen2", "gpt2", "smollm", "gemma", "llama2", "mistral",
                                         "mixed", "words"),
                         [](const auto& info) { return std::string(info.param); });

// A byte-level or byte-fallback tokenizer without a normalizer loses nothing.
class RoundTrip : public testing::TestWithParam<const char*> {};

TEST_P(RoundTrip, GivesTheTextBack) {
  const Tokenizer tokenizer = load_golden(GetParam());
  for (const std::string& text : golden_strings()) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, {.parse_special = false})), text);
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, {}), true).size() >= text.size(), true) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(Styles, RoundTrip, testing::Values("llama3", "gpt2", "smollm"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace

std::vector<std::string> golden_strings() {
  return json::value_to<std::vector<std::string>>(read_golden("strings.json"));
}

std::vector<std::string> golden_differences(const Tokenizer& tokenizer, const std::string& style,
                                            bool check_special) {
  const std::vector<std::string> strings = golden_strings();
  const json::value file = read_golden(style + ".ids.json");
  const json::object& golden = file.as_object();
  std::vector<std::string> out;
  const auto compare = [&](const std::string& what, const std::string& text, const auto& got,
                           const auto& want) {
    if (got == want || out.size() == 10) return;
    if constexpr (std::is_same_v<std::decay_t<decltype(got)>, Ids>) {
      out.push_back(
          fmt::format("{} of {}: {}; wanted {}", what, printable(text, 200), show(got), show(want)));
    } else {
      out.push_back(fmt::format("{} of {}: {}; wanted {}", what, printable(text, 200), printable(got, 300),
                                printable(want, 300)));
    }
  };
  for (size_t i = 0; i < strings.size(); ++i) {
    const std::string& text = strings[i];
    const json::value& ids = golden.at("ids").as_array()[i];
    const auto want = json::value_to<Ids>(ids);
    compare("ids", text, tokenizer.encode(text, {}), want);
    compare("plain ids", text, tokenizer.encode(text, {.parse_special = false}),
            json::value_to<Ids>(row(golden, "plain", i, ids)));
    compare("text", text, to_valid_utf8(tokenizer.decode(want)),
            json::value_to<std::string>(row(golden, "decoded", i, json::value(text))));
  }
  if (check_special) {
    compare("ids with special", strings[10], tokenizer.encode(strings[10], {.add_special = true}),
            json::value_to<Ids>(golden.at("special")));
  }
  return out;
}

}  // namespace chorus
