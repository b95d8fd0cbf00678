#include "formats/tokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "base/error.h"
#include "formats/tokenizer_golden.h"
#include "formats/unicode.h"

namespace chorus {
namespace {

using Ids = std::vector<int32_t>;

// A tokenizer.json with a vocabulary of "a", "b", "ab" and one special token, whose members a test replaces.
json::object small_file() {
  return json::parse(R"({
    "added_tokens": [{"id": 3, "content": "<s>", "special": true, "normalized": false}],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
  })")
      .as_object();
}

Tokenizer load(const json::object& file, const json::value& config = nullptr) {
  return Tokenizer::from_json(file, config, "t.json");
}

std::string load_error(const json::object& file, const json::value& config = nullptr) {
  try {
    load(file, config);
  } catch (const Error& e) {
    return e.what();
  }
  return "loaded";
}

json::object with(const char* key, const char* value) {
  json::object file = small_file();
  file[key] = json::parse(value);
  return file;
}

json::object with_model(const char* key, const char* value) {
  json::object file = small_file();
  file["model"].as_object()[key] = json::parse(value);
  return file;
}

TEST(Tokenizer, EncodesAndDecodes) {
  const Tokenizer t = load(small_file(), json::parse(R"({"eos_token": {"content": "<s>"}})"));
  EXPECT_EQ(t.encode("aab<s>", {}), (Ids{0, 2, 3}));
  EXPECT_EQ(t.encode("ab<s>", {.parse_special = false}),
            (Ids{2}));  // '<', 's' and '>' are not in the vocabulary
  EXPECT_EQ(t.decode(Ids{0, 2, 3}), "aab");
  EXPECT_EQ(t.decode(Ids{0, 2, 3}, true), "aab<s>");
  EXPECT_EQ(t.vocab_size(), 4);
  EXPECT_EQ(t.token_bytes(2), "ab");
  EXPECT_TRUE(t.is_special(3));
  EXPECT_EQ(t.find_token("<s>"), 3);
  EXPECT_EQ(t.find_token("x"), std::nullopt);
  EXPECT_EQ(t.eos(), 3);
  EXPECT_EQ(t.bos(), std::nullopt);
  EXPECT_EQ(t.stop_ids(), Ids{3});
}

TEST(Tokenizer, IdsOutsideTheVocabularyAreNothing) {
  const Tokenizer t = load(small_file());
  EXPECT_EQ(t.decode(Ids{-1, 0, 4, INT32_MAX, INT32_MIN}, true), "a");
  EXPECT_EQ(t.token_bytes(-1), "");
  EXPECT_EQ(t.token_bytes(4), "");
  EXPECT_FALSE(t.is_special(-1));
  EXPECT_FALSE(t.is_special(4));
}

TEST(Tokenizer, ConfigOverridesThePostProcessor) {
  const Tokenizer plain = load(small_file(), json::parse(R"({"bos_token": "<s>"})"));
  EXPECT_FALSE(plain.adds_bos());
  EXPECT_EQ(plain.encode("a", {.add_special = true}), Ids{0});
  const Tokenizer both =
      load(small_file(), json::parse(R"({"bos_token": "<s>", "add_bos_token": true, "eos_token": "<s>",
                                         "add_eos_token": true})"));
  EXPECT_TRUE(both.adds_bos());
  EXPECT_EQ(both.encode("a", {.add_special = true}), (Ids{3, 0, 3}));
  json::object file = with("post_processor", R"({"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]}}})");
  EXPECT_EQ(load(file).encode("a", {.add_special = true}), (Ids{3, 0}));
  EXPECT_EQ(load(file).bos(), 3);
  const Tokenizer without = load(file, json::parse(R"({"bos_token": "<s>", "add_bos_token": false})"));
  EXPECT_EQ(without.encode("a", {.add_special = true}), Ids{0});
}

TEST(Tokenizer, StopsAtEosAndAtKnownNames) {
  const Tokenizer t = load_golden("smollm");
  EXPECT_EQ(t.stop_ids(), (Ids{*t.find_token("<|im_end|>"), *t.find_token("<|endoftext|>")}));
  const Tokenizer gemma = load_golden("gemma");
  EXPECT_EQ(gemma.stop_ids(), (Ids{*gemma.find_token("<eos>"), *gemma.find_token("<end_of_turn>")}));
}

// The text of a token that the model has is no special token, however it is spelled.
TEST(Tokenizer, TextNeverBecomesASpecialTokenUnasked) {
  for (const char* style : {"llama3", "qwen2", "gpt2", "smollm", "gemma", "llama2", "mistral", "mixed"}) {
    const Tokenizer t = load_golden(style);
    for (const std::string& text : golden_strings()) {
      for (const int32_t id : t.encode(text, {.parse_special = false}))
        EXPECT_FALSE(t.is_special(id)) << text;
    }
  }
}

TEST(Tokenizer, InvalidUtf8BecomesTheReplacementCharacter) {
  const Tokenizer t = load_golden("gpt2");
  EXPECT_EQ(t.decode(t.encode("a\xFFz\xE2\x82", {})), "a\xEF\xBF\xBDz\xEF\xBF\xBD");
  EXPECT_EQ(t.encode("\xC0\xAF", {}), t.encode("\uFFFD\uFFFD", {}));
  EXPECT_EQ(t.encode("\xED\xA0\x80", {}), t.encode("\uFFFD\uFFFD\uFFFD", {}));
  std::mt19937 random(1);
  for (const char* style : {"llama3", "gemma", "mixed"}) {
    const Tokenizer tokenizer = load_golden(style);
    for (int i = 0; i < 300; ++i) {
      std::string text(random() % 40, ' ');
      for (char& c : text) c = static_cast<char>(static_cast<unsigned char>(random() % 256));
      EXPECT_EQ(tokenizer.encode(text, {}), tokenizer.encode(to_valid_utf8(text), {}));
    }
  }
}

// An added token outside the byte alphabet's reading of it: decoded as written, which `tokenizers` does not.
TEST(Tokenizer, AddedTokensDecodeAsWritten) {
  const Tokenizer t = load(with("added_tokens", R"([{"id": 3, "content": "\u00dc", "special": false}])"));
  EXPECT_EQ(t.decode(t.encode("a\u00dc", {})), "a\u00dc");
}

// 300 kB of one character: quadratic anywhere would run into the test's time limit.
TEST(Tokenizer, LongRunsTakeLinearTime) {
  for (const char* style : {"llama3", "qwen2", "gpt2", "smollm", "gemma", "llama2", "mistral", "mixed"}) {
    const Tokenizer t = load_golden(style);
    for (const char* unit :
         {"a", "\u4E2D", " ", "\n", "!", "0", "\u0301\u0316", "\U0001F44D\u200D", "x\u0301", "<"}) {
      std::string text;
      while (text.size() < 300'000) text += unit;
      EXPECT_FALSE(t.encode(text, {}).empty() && std::string_view(style) != "mixed") << style << " " << unit;
    }
  }
}

TEST(Tokenizer, ReplacementsCannotGrowATextWithoutBound) {
  std::string steps;
  for (int i = 0; i < 20; ++i) {
    steps += fmt::format(R"({}{{"type":"Replace","pattern":{{"String":"a"}},"content":"{}"}})",
                         i == 0 ? "" : ",", std::string(50, 'a'));
  }
  const Tokenizer t =
      load(with("normalizer", (R"({"type":"Sequence","normalizers":[)" + steps + "]}").c_str()));
  EXPECT_THROW(t.encode("a", {}), Error);
}

TEST(StreamDecoder, HoldsBackHalfACharacter) {
  const Tokenizer t = load_golden("gemma");
  StreamDecoder stream(t);
  const auto byte = [&t](const char* name) { return *t.find_token(name); };
  EXPECT_EQ(stream.push(byte("<0xE2>")), "");
  EXPECT_EQ(stream.push(byte("<0x82>")), "");
  EXPECT_EQ(stream.push(byte("<0xAC>")), "\u20AC");
  EXPECT_EQ(stream.push(byte("<0xE2>")), "");
  EXPECT_EQ(stream.push(byte("<0x41>")), "\uFFFDA");
  EXPECT_EQ(stream.push(byte("<0xF0>")), "");
  EXPECT_EQ(stream.push(byte("<eos>")), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
  EXPECT_EQ(stream.finish(), "");
}

TEST(StreamDecoder, StripsTheLeadingSpaceOnce) {
  const Tokenizer t = load_golden("llama2");
  for (const char* text : {"a b", " a", "  a", "", " ", "the lamp"}) {
    const Ids ids = t.encode(text, {.add_special = true});
    StreamDecoder stream(t);
    std::string streamed;
    for (const int32_t id : ids) streamed += stream.push(id);
    EXPECT_EQ(streamed + stream.finish(), text);
    EXPECT_EQ(t.decode(ids), text);
  }
}

struct BadFile {
  const char* error;
  json::object file;
};

TEST(TokenizerJson, RefusesByName) {
  const BadFile cases[] = {
      {"t.json: model: type 'Unigram' is not supported", with_model("type", R"("Unigram")")},
      {"t.json: model.vocab: empty", with_model("vocab", "{}")},
      {"t.json: model.vocab['b']: 2147483648; must be from 0 to 4100",
       with_model("vocab", R"({"a":0,"b":2147483648})")},
      {"t.json: model.vocab['b']: -1; must be from 0 to 4100", with_model("vocab", R"({"a":0,"b":-1})")},
      {"t.json: model.vocab: id 0 is both", with_model("vocab", R"({"a":0,"b":0})")},
      {"t.json: model.vocab['a']: string", with_model("vocab", R"({"a":"x"})")},
      {"t.json: model.merges[0]: 'x' is not in the vocabulary", with_model("merges", R"(["a x"])")},
      {"t.json: model.merges[1]: 'ba' is not in the vocabulary",
       with_model("merges", R"(["a b", ["b","a"]])")},
      {"t.json: model.merges[0]: 'ab'; must be two tokens", with_model("merges", R"(["ab"])")},
      {"t.json: model.merges[0]: int64; must be a string", with_model("merges", "[1]")},
      {"t.json: model.dropout is not supported", with_model("dropout", "0.1")},
      {"t.json: model.end_of_word_suffix is not supported", with_model("end_of_word_suffix", R"("</w>")")},
      {"t.json: model.byte_fallback: string; must be true or false", with_model("byte_fallback", R"("yes")")},
      {"t.json: model: array; must be an object", with("model", "[]")},
      {"t.json: no 'model'", with("model", "null")},
      {"t.json: decoder: none", with("decoder", "null")},
      {"t.json: decoder: type 'CTC' is not supported", with("decoder", R"({"type":"CTC"})")},
      {"t.json: decoder: 'Strip' in this place", with("decoder", R"({"type":"Strip"})")},
      {"t.json: normalizer: type 'Precompiled' is not supported",
       with("normalizer", R"({"type":"Precompiled"})")},
      {"t.json: normalizer.normalizers[1]: no 'type'",
       with("normalizer", R"({"type":"Sequence","normalizers":[{"type":"NFC"},{}]})")},
      {"t.json: pre_tokenizer: type 'UnicodeScripts' is not supported",
       with("pre_tokenizer", R"({"type":"UnicodeScripts"})")},
      {"t.json: pre_tokenizer.pretokenizers[1]: 'Digits' after ByteLevel",
       with("pre_tokenizer",
            R"({"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"Digits"}]})")},
      {"t.json: pre_tokenizer.pattern: bad regular expression",
       with("pre_tokenizer", R"({"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated"})")},
      {"t.json: pre_tokenizer.behavior: 'Odd' is not supported",
       with("pre_tokenizer", R"({"type":"Split","pattern":{"String":"a"},"behavior":"Odd"})")},
      {"t.json: post_processor: type 'BertProcessing'",
       with("post_processor", R"({"type":"BertProcessing"})")},
      {"t.json: post_processor.special_tokens['<s>'].ids: 9; must be from 0 to 3",
       with("post_processor", R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}}],
                                  "special_tokens":{"<s>":{"ids":[9]}}})")},
      {"t.json: added_tokens[0].id: 99999", with("added_tokens", R"([{"id":99999,"content":"x"}])")},
      {"t.json: added_tokens: id 0 is both 'a' and 'x'", with("added_tokens", R"([{"id":0,"content":"x"}])")},
      {"t.json: added_tokens: the token 'a' is there twice",
       with("added_tokens", R"([{"id":7,"content":"a"}])")},
      {"t.json: added_tokens[0]: no 'content'", with("added_tokens", R"([{"id":7}])")},
  };
  for (const BadFile& bad : cases) {
    EXPECT_TRUE(load_error(bad.file).starts_with(bad.error))
        << load_error(bad.file) << "\nwanted: " << bad.error;
  }
  EXPECT_EQ(load_error(small_file(), json::parse(R"({"bos_token": "zz"})")),
            "t.json: tokenizer_config.bos_token: 'zz' is not a token");
  EXPECT_EQ(load_error(small_file(), json::parse("[]")),
            "t.json: tokenizer_config: array; must be an object");
  const json::object long_token =
      with("added_tokens", fmt::format(R"([{{"id":7,"content":"{}"}}])", std::string(1025, 'x')).c_str());
  EXPECT_EQ(load_error(long_token), "t.json: added_tokens: an added token of 1025 bytes; at most 1024");
}

}  // namespace
}  // namespace chorus
