#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <limits>

#include "base/error.h"
#include "formats/gguf.h"
#include "formats/test_files.h"
#include "formats/tokenizer.h"
#include "formats/tokenizer_golden.h"

namespace chorus {
namespace {

using Ids = std::vector<int32_t>;
using Metadata = std::vector<std::pair<std::string, GgufValue>>;
using Strings = std::vector<std::string>;
using Integers = std::vector<int64_t>;
using Numbers = std::vector<double>;

class GgufGolden : public testing::TestWithParam<const char*> {};

TEST_P(GgufGolden, EveryStringGivesTheSameIds) {
  const GgufFile file = GgufFile::open(golden_path(std::string(GetParam()) + ".gguf"));
  const Tokenizer tokenizer = Tokenizer::from_gguf(file);
  const Tokenizer from_json = load_golden(GetParam());
  // Whether BOS is added is the GGUF file's own setting, which only some of these files have.
  const bool check_special = tokenizer.adds_bos() == from_json.adds_bos();
  for (const std::string& line : golden_differences(tokenizer, GetParam(), check_special))
    ADD_FAILURE() << line;
  EXPECT_EQ(tokenizer.vocab_size(), from_json.vocab_size());
  EXPECT_EQ(tokenizer.stop_ids(), from_json.stop_ids());
}

INSTANTIATE_TEST_SUITE_P(Styles, GgufGolden,
                         testing::Values("llama3", "qwen2", "gpt2", "smollm", "gemma", "llama2"),
                         [](const auto& info) { return std::string(info.param); });

std::string cached_model() {
  if (const char* cache = std::getenv("CHORUS_CACHE")) return std::string(cache) + "/smollm2.gguf";
  const char* home = std::getenv("HOME");
  return std::string(home == nullptr ? "" : home) + "/.cache/chorus/smollm2.gguf";
}

TEST(SmolLm2, EveryStringGivesTheSameIds) {
  const std::string path = cached_model();
  if (!std::filesystem::exists(path)) {
    GTEST_SKIP()
        << "no smollm2.gguf in $CHORUS_CACHE (~/.cache/chorus): SmolLM2's real vocabulary is not checked";
  }
  const Tokenizer tokenizer = Tokenizer::from_gguf(GgufFile::open(path));
  EXPECT_EQ(tokenizer.vocab_size(), 49152);
  EXPECT_EQ(tokenizer.stop_ids().front(), *tokenizer.find_token("<|im_end|>"));
  EXPECT_FALSE(tokenizer.adds_bos());
  for (const std::string& line : golden_differences(tokenizer, "smollm2")) ADD_FAILURE() << line;
}

Metadata byte_level() {
  return {{"tokenizer.ggml.model", "gpt2"},
          {"tokenizer.ggml.pre", "gpt-2"},
          {"tokenizer.ggml.tokens", GgufArray(Strings{"a", "b", "ab", "<s>"})},
          {"tokenizer.ggml.token_type", GgufArray(Integers{1, 1, 1, 3})},
          {"tokenizer.ggml.merges", GgufArray(Strings{"a b"})},
          {"tokenizer.ggml.eos_token_id", int64_t{3}}};
}

Metadata sentence_piece() {
  return {{"tokenizer.ggml.model", "llama"},
          {"tokenizer.ggml.tokens",
           GgufArray(Strings{"<unk>", "<s>", "\u2581", "a", "\u2581a", "<0x0A>", "aa", "x y"})},
          {"tokenizer.ggml.token_type", GgufArray(Integers{2, 3, 1, 1, 1, 6, 1, 4})},
          {"tokenizer.ggml.scores", GgufArray(Numbers{0, 0, -9, -9, -2, 0, -1, 0})},
          {"tokenizer.ggml.bos_token_id", int64_t{1}}};
}

Metadata with(Metadata metadata, const std::string& key, GgufValue value) {
  const auto found =
      std::find_if(metadata.begin(), metadata.end(), [&](const auto& e) { return e.first == key; });
  if (found == metadata.end()) {
    metadata.emplace_back(key, std::move(value));
  } else {
    found->second = std::move(value);
  }
  return metadata;
}

Metadata without(Metadata metadata, const std::string& key) {
  std::erase_if(metadata, [&](const auto& entry) { return entry.first == key; });
  return metadata;
}

Tokenizer load(const Metadata& metadata) {
  const TestFile file;
  write_gguf(file.path(), metadata, {});
  return Tokenizer::from_gguf(GgufFile::open(file.path()));
}

TEST(TokenizerGguf, SentencePieceTakesTheHighestScoreFirst) {
  const Tokenizer t = load(sentence_piece());
  EXPECT_EQ(t.encode("aa", {}), (Ids{2, 6}));  // "aa" before "\u2581a"
  EXPECT_EQ(t.encode("a\n", {.add_special = true}), (Ids{1, 4, 5}));
  EXPECT_EQ(t.encode("a\u00e9\u00e9", {}), (Ids{4, 0}));  // no such byte tokens: one unknown
  EXPECT_EQ(t.encode("ax y a", {}), (Ids{4, 7, 2, 4}));
  EXPECT_EQ(t.decode(t.encode("a a", {})), "a a");
  EXPECT_EQ(t.decode(t.encode(" a", {})), " a");
  EXPECT_TRUE(t.adds_bos());
  const Tokenizer plain = load(with(sentence_piece(), "tokenizer.ggml.add_space_prefix", false));
  EXPECT_EQ(plain.encode("aa", {}), Ids{6});
  EXPECT_EQ(plain.decode(Ids{4}), " a");
}

TEST(TokenizerGguf, TurnEndersStop) {
  EXPECT_EQ(load(byte_level()).stop_ids(), Ids{3});
  EXPECT_EQ(load(with(byte_level(), "tokenizer.ggml.eot_token_id", int64_t{1})).stop_ids(), (Ids{3, 1}));
}

TEST(TokenizerGguf, RefusesNamingTheField) {
  const struct {
    const char* error;
    Metadata metadata;
  } cases[] = {
      {"tokenizer.ggml.model", without(byte_level(), "tokenizer.ggml.model")},
      {"tokenizer.ggml.model 't5' is not supported", with(byte_level(), "tokenizer.ggml.model", "t5")},
      {"tokenizer.ggml.pre: unknown pre-tokenizer 'odd'; known: gpt-2",
       with(byte_level(), "tokenizer.ggml.pre", "odd")},
      {"tokenizer.ggml.pre", without(byte_level(), "tokenizer.ggml.pre")},
      {"tokenizer.ggml.tokens: no tokens", with(byte_level(), "tokenizer.ggml.tokens", GgufArray(Strings{}))},
      {"tokenizer.ggml.tokens", with(byte_level(), "tokenizer.ggml.tokens", GgufArray(Integers{1, 2, 3, 4}))},
      {"tokenizer.ggml.tokens[1]: empty",
       with(byte_level(), "tokenizer.ggml.tokens", GgufArray(Strings{"a", "", "ab", "<s>"}))},
      {"tokenizer.ggml.tokens: the token 'a' is there twice",
       with(byte_level(), "tokenizer.ggml.tokens", GgufArray(Strings{"a", "a", "ab", "<s>"}))},
      {"tokenizer.ggml.token_type: 3 elements for 4 tokens",
       with(byte_level(), "tokenizer.ggml.token_type", GgufArray(Integers{1, 1, 1}))},
      {"tokenizer.ggml.token_type[3]: 7; must be from 1 to 6",
       with(byte_level(), "tokenizer.ggml.token_type", GgufArray(Integers{1, 1, 1, 7}))},
      {"tokenizer.ggml.token_type",
       with(byte_level(), "tokenizer.ggml.token_type", GgufArray(Numbers{1, 1, 1, 3}))},
      {"tokenizer.ggml.merges[0]: 'x' is not a token",
       with(byte_level(), "tokenizer.ggml.merges", GgufArray(Strings{"a x"}))},
      {"tokenizer.ggml.merges[1]: 'ba' is not a token",
       with(byte_level(), "tokenizer.ggml.merges", GgufArray(Strings{"a b", "b a"}))},
      {"tokenizer.ggml.merges[0]: 'ab'; must be two tokens",
       with(byte_level(), "tokenizer.ggml.merges", GgufArray(Strings{"ab"}))},
      {"tokenizer.ggml.merges", without(byte_level(), "tokenizer.ggml.merges")},
      {"tokenizer.ggml.eos_token_id", with(byte_level(), "tokenizer.ggml.eos_token_id", int64_t{4})},
      {"tokenizer.ggml.bos_token_id", with(byte_level(), "tokenizer.ggml.bos_token_id", int64_t{2147483648})},
      {"tokenizer.ggml.add_bos_token: true without tokenizer.ggml.bos_token_id",
       with(byte_level(), "tokenizer.ggml.add_bos_token", true)},
      {"tokenizer.ggml.scores", with(byte_level(), "tokenizer.ggml.scores", GgufArray(Integers{1, 2, 3, 4}))},
      {"tokenizer.ggml.scores", without(sentence_piece(), "tokenizer.ggml.scores")},
      {"tokenizer.ggml.scores: 1 elements for 8 tokens",
       with(sentence_piece(), "tokenizer.ggml.scores", GgufArray(Numbers{0}))},
      {"tokenizer.ggml.scores[2]: not a finite number",
       with(sentence_piece(), "tokenizer.ggml.scores",
            GgufArray(Numbers{0, 0, std::numeric_limits<double>::quiet_NaN(), 0, 0, 0, 0, 0}))},
      {"tokenizer.ggml.tokens[5]: byte token '<0x-1>'; must be <0xHH>",
       with(sentence_piece(), "tokenizer.ggml.tokens",
            GgufArray(Strings{"<unk>", "<s>", "\u2581", "a", "\u2581a", "<0x-1>", "aa", "x y"}))},
      {"tokenizer.ggml.tokens[6]: 1025 bytes; at most 1024",
       with(sentence_piece(), "tokenizer.ggml.tokens",
            GgufArray(
                Strings{"<unk>", "<s>", "\u2581", "a", "\u2581a", "<0x0A>", std::string(1025, 'a'), "x y"}))},
  };
  for (const auto& bad : cases) {
    const TestFile file;
    write_gguf(file.path(), bad.metadata, {});
    try {
      Tokenizer::from_gguf(GgufFile::open(file.path()));
      ADD_FAILURE() << "loaded; wanted " << bad.error;
    } catch (const Error& e) {
      EXPECT_NE(std::string_view(e.what()).find(bad.error), std::string_view::npos) << e.what() << "\n"
                                                                                    << bad.error;
      EXPECT_NE(std::string_view(e.what()).find(file.path()), std::string_view::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace chorus
