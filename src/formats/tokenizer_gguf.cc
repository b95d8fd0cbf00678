#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "formats/byte_level.h"
#include "formats/gguf.h"
#include "formats/tokenizer.h"
#include "formats/tokenizer_impl.h"

namespace chorus {
namespace {

enum class TokenType : int64_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

constexpr const char* kTokens = "tokenizer.ggml.tokens";
constexpr const char* kTypes = "tokenizer.ggml.token_type";
constexpr const char* kScores = "tokenizer.ggml.scores";
constexpr const char* kMerges = "tokenizer.ggml.merges";
constexpr const char* kSpace = "\u2581";  // stands for a space in SentencePiece's vocabularies

struct Loader {
  const GgufFile& file;
  TokenizerData* impl;
  bool byte_level;               // else SentencePiece
  std::vector<TokenType> types;  // by id

  std::string at(std::string_view field) const { return fmt::format("{}: {}", file.path(), field); }
};

bool is_valid_utf8(std::string_view text) { return to_valid_utf8(text) == text; }

void check_length(const Loader& load, const char* field, size_t length) {
  if (length != load.types.size()) {
    fail("{}: {} elements for {} tokens", load.at(field), length, load.types.size());
  }
}

void read_types(Loader& load) {
  load.types.assign(load.file.strings(kTokens).size(), TokenType::kNormal);
  if (load.types.empty()) fail("{}: no tokens", load.at(kTokens));
  if (load.types.size() > INT32_MAX) fail("{}: {} tokens", load.at(kTokens), load.types.size());
  if (load.file.find_value(kTypes) == nullptr) return;
  const std::vector<int64_t>& types = load.file.integers(kTypes);
  check_length(load, kTypes, types.size());
  for (size_t id = 0; id < types.size(); ++id) {
    if (types[id] < 1 || types[id] > 6) {
      fail("{}[{}]: {}; must be from 1 to 6", load.at(kTypes), id, types[id]);
    }
    load.types[id] = static_cast<TokenType>(types[id]);
  }
}

// Replaces every U+2581 by a space.
std::string unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const bool space = text.substr(i).starts_with(kSpace);
    out += space ? ' ' : text[i];
    i += space ? std::string_view(kSpace).size() : 1;
  }
  return out;
}

std::string bytes_of(const Loader& load, const std::string& text, size_t id) {
  switch (load.types[id]) {
    case TokenType::kControl:
    case TokenType::kUserDefined:
    case TokenType::kUnknown:
      return text;
    case TokenType::kByte: {
      const auto byte = parse_byte_token(text);
      if (!byte) {
        fail("{}[{}]: byte token '{}'; must be <0xHH>", load.at(kTokens), id, printable(text));
      }
      return std::string(1, static_cast<char>(*byte));
    }
    case TokenType::kNormal:
    case TokenType::kUnused:
      break;
  }
  return load.byte_level ? from_byte_level(text).value_or(text) : unescape(text);
}

// Fills the token table. Returns the tokens that text can become by merging.
TokenIds read_tokens(const Loader& load) {
  const std::vector<std::string>& texts = load.file.strings(kTokens);
  TokenIds vocabulary;
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    if (texts[i].empty()) fail("{}[{}]: empty", load.at(kTokens), i);
    if (!is_valid_utf8(texts[i])) fail("{}[{}]: not UTF-8", load.at(kTokens), i);
    load.impl->add_token(id, texts[i], load.at(kTokens));
    load.impl->tokens[i].bytes = bytes_of(load, texts[i], i);
    const TokenType type = load.types[i];
    if (type == TokenType::kControl || type == TokenType::kUserDefined || type == TokenType::kUnknown) {
      AddedToken token;
      token.content = texts[i];
      token.id = id;
      token.special = type != TokenType::kUserDefined;
      load.impl->add_added(token, load.at(kTokens));
    } else {
      vocabulary.emplace(texts[i], id);
    }
  }
  return vocabulary;
}

std::vector<BpeMerge> read_merges(const Loader& load) {
  const std::vector<std::string>& texts = load.file.strings(kMerges);
  std::vector<BpeMerge> merges;
  merges.reserve(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string_view text = texts[i];
    const size_t space = text.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == text.size()) {
      fail("{}[{}]: '{}'; must be two tokens with a space between", load.at(kMerges), i, printable(text));
    }
    const auto id = [&](std::string_view token) {
      const auto found = load.impl->ids.find(token);
      if (found == load.impl->ids.end()) {
        fail("{}[{}]: '{}' is not a token", load.at(kMerges), i, printable(token));
      }
      return found->second;
    };
    const std::string_view left = text.substr(0, space);
    const std::string_view right = text.substr(space + 1);
    merges.push_back({id(left), id(right), static_cast<int32_t>(i), id(std::string(left).append(right))});
  }
  return merges;
}

const std::vector<double>& read_scores(const Loader& load) {
  const std::vector<double>& scores = load.file.numbers(kScores);
  check_length(load, kScores, scores.size());
  for (size_t i = 0; i < scores.size(); ++i) {
    if (!std::isfinite(scores[i])) fail("{}[{}]: not a finite number", load.at(kScores), i);
  }
  return scores;
}

std::optional<int32_t> read_id(const Loader& load, const char* key) {
  if (load.file.find_value(key) == nullptr) return std::nullopt;
  return static_cast<int32_t>(load.file.integer(key, 0, static_cast<int64_t>(load.types.size()) - 1));
}

void load_byte_level(const Loader& load, bool& add_bos) {
  TokenizerData& impl = *load.impl;
  GgufPreTokenizer pre =
      find_gguf_pre_tokenizer(load.file.string("tokenizer.ggml.pre"), load.at("tokenizer.ggml.pre"));
  if (pre.nfc) impl.normalizer.steps.emplace_back(NormalForm::kNfc);
  for (size_t i = 0; i < pre.splits.size(); ++i) {
    const bool last = i + 1 == pre.splits.size();
    if (last && load.file.boolean_or("tokenizer.ggml.add_space_prefix", false)) {
      impl.pre_tokenizer.steps.emplace_back(PrefixSpaceStep{});
    }
    impl.pre_tokenizer.steps.emplace_back(std::move(pre.splits[i]));
  }
  add_bos = pre.add_bos;
  if (load.file.find_value(kScores) != nullptr) read_scores(load);  // unused, but a file is right or refused
  BpeSettings settings;
  settings.byte_level = true;
  settings.ignore_merges = pre.ignore_merges;
  const TokenIds vocabulary = read_tokens(load);
  impl.bpe.emplace(settings, vocabulary, read_merges(load));
}

void load_sentencepiece(const Loader& load) {
  TokenizerData& impl = *load.impl;
  if (load.file.boolean_or("tokenizer.ggml.add_space_prefix", true)) {
    impl.normalizer.steps.emplace_back(PrependStep{" "});
    impl.leading_space = LeadingSpace::kStripOne;
  }
  impl.normalizer.steps.emplace_back(ReplaceStep{std::string(" "), kSpace});
  const std::vector<double>& scores = read_scores(load);
  const TokenIds vocabulary = read_tokens(load);
  TokenIds pieces;  // what merges may join and make
  for (const auto& [text, id] : vocabulary) {
    if (load.types[static_cast<size_t>(id)] == TokenType::kByte) continue;
    if (text.size() > kMaxScoredBytes) {
      fail("{}[{}]: {} bytes; at most {}", load.at(kTokens), id, text.size(), kMaxScoredBytes);
    }
    pieces.emplace(text, id);
  }
  BpeSettings settings;
  settings.byte_fallback = true;
  settings.fuse_unknown = true;
  settings.unknown = read_id(load, "tokenizer.ggml.unknown_token_id");
  const auto typed = std::find(load.types.begin(), load.types.end(), TokenType::kUnknown);
  if (!settings.unknown && typed != load.types.end()) {
    settings.unknown = static_cast<int32_t>(typed - load.types.begin());
  }
  impl.bpe.emplace(settings, vocabulary, merges_from_scores(pieces, scores));
}

void read_special_ids(const Loader& load, bool add_bos) {
  TokenizerData& impl = *load.impl;
  impl.bos = read_id(load, "tokenizer.ggml.bos_token_id");
  impl.eos = read_id(load, "tokenizer.ggml.eos_token_id");
  for (const char* key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    if (const auto id = read_id(load, key)) impl.tokens[static_cast<size_t>(*id)].stops = true;
  }
  const auto adds = [&load](const char* key, const char* id_key, bool fallback,
                            const std::optional<int32_t>& id) {
    const bool asked = load.file.find_value(key) != nullptr;
    const bool value = load.file.boolean_or(key, fallback);
    if (asked && value && !id) fail("{}: true without {}", load.at(key), id_key);
    return value && id.has_value();
  };
  if (adds("tokenizer.ggml.add_bos_token", "tokenizer.ggml.bos_token_id", add_bos, impl.bos)) {
    impl.prefix.push_back(*impl.bos);
  }
  if (adds("tokenizer.ggml.add_eos_token", "tokenizer.ggml.eos_token_id", false, impl.eos)) {
    impl.suffix.push_back(*impl.eos);
  }
}

}  // namespace

Tokenizer Tokenizer::from_gguf(const GgufFile& file) {
  const std::string& model = file.string("tokenizer.ggml.model");
  if (model != "gpt2" && model != "llama") {
    fail("{}: tokenizer.ggml.model '{}' is not supported; known: gpt2, llama", file.path(), printable(model));
  }
  auto impl = std::make_unique<Impl>();
  Loader load{file, impl.get(), model == "gpt2", {}};
  read_types(load);
  bool add_bos = true;
  if (load.byte_level) {
    load_byte_level(load, add_bos);
  } else {
    load_sentencepiece(load);
  }
  read_special_ids(load, add_bos);
  impl->finish();
  return Tokenizer(std::move(impl));
}

}  // namespace chorus
