#pragma once

// What the two loaders (tokenizer_json.cc, tokenizer_gguf.cc) fill and tokenizer.cc runs.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/added_tokens.h"
#include "formats/bpe.h"
#include "formats/normalizer.h"
#include "formats/pretokenizer.h"
#include "formats/tokenizer.h"

namespace chorus {

// What the decoder does with the space that Metaspace and Prepend put before a text.
enum class LeadingSpace {
  kKeep,
  kStripOne,         // one space from the beginning of the text
  kStripFirstToken,  // every space of the first token (the Metaspace decoder)
};

struct Token {
  std::string text;   // as the file writes it; empty: no token has this id
  std::string bytes;  // what it stands for
  bool special = false;
  bool stops = false;  // an added token of a name that ends a turn
};

// Tokenizer::Impl under a name that functions outside the class may use.
struct TokenizerData {
  std::vector<Token> tokens;  // by id
  TokenIds ids;               // by text
  AddedTokenMatcher raw_added;
  AddedTokenMatcher normalized_added;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::optional<Bpe> bpe;       // always there once loaded
  std::vector<int32_t> prefix;  // what add_special puts around the text
  std::vector<int32_t> suffix;
  LeadingSpace leading_space = LeadingSpace::kKeep;
  std::optional<int32_t> bos;
  std::optional<int32_t> eos;
  std::vector<int32_t> stop_ids;

  // Puts a token into `tokens` and `ids`. `where` names its place. Error: an id or a text already taken.
  void add_token(int32_t id, std::string text, std::string_view where);
  // Makes a token that `tokens` holds an added one. Returns what is looked for: its content, normalized where
  // the token says so.
  std::string add_added(const AddedToken& token, std::string_view where);
  // What follows from the rest: stop_ids.
  void finish();

  void encode_text(std::string text, bool at_start, bool special, Bpe::Scratch& scratch,
                   std::vector<int32_t>& out) const;
};

struct Tokenizer::Impl : TokenizerData {};

}  // namespace chorus
