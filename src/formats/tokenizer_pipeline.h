#pragma once

// The normalizer, pre-tokenizer and decoder of a tokenizer.json. Each reader takes the member's value
// (nullptr: none) and the member's place for its Errors; a type or an option it does not know is refused by
// name.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/json.h"
#include "formats/normalizer.h"
#include "formats/pretokenizer.h"
#include "formats/tokenizer_impl.h"

namespace chorus {

Normalizer read_normalizer(const json::value* value, std::string_view where);

struct PreTokenizerSpec {
  PreTokenizer pre_tokenizer;
  bool byte_level = false;  // its last step writes the pieces in GPT-2's byte alphabet
};
PreTokenizerSpec read_pre_tokenizer(const json::value* value, std::string_view where);

// What makes text of tokens, all of it token by token but for the space at the text's beginning.
struct Decoder {
  bool byte_level = false;
  bool byte_fallback = false;
  std::vector<std::pair<std::string, std::string>> replacements;  // in this order
  LeadingSpace leading_space = LeadingSpace::kKeep;

  // The bytes that a token of the vocabulary stands for.
  std::string bytes(std::string_view token) const;
};
Decoder read_decoder(const json::value* value, std::string_view where);

}  // namespace chorus
