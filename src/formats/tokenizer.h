#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/utf8.h"
#include "formats/json.h"

namespace chorus {

class GgufFile;

struct EncodeOptions {
  bool add_special = false;   // BOS/EOS (or the post-processor's tokens) as the model's own settings ask
  bool parse_special = true;  // text such as "<|im_start|>" becomes its control token; false: plain text
};

// Byte-level BPE (GPT-2 family) or SentencePiece-style BPE with byte fallback (Llama 2, Gemma). Immutable and
// thread-safe after loading. Time is linear in the text (up to a log factor within one pre-token).
class Tokenizer {
 public:
  static Tokenizer from_gguf(const GgufFile& file);
  // tokenizer.json, with tokenizer_config.json beside it where there is one (null value: none) for
  // add_bos_token, bos_token, eos_token and the like.
  static Tokenizer from_json(const json::value& tokenizer, const json::value& config, std::string_view what);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Token ids of `text`, which may hold any bytes: invalid UTF-8 becomes U+FFFD first. Error: more than 2^31
  // bytes.
  std::vector<int32_t> encode(std::string_view text, EncodeOptions options) const;
  // The bytes of the tokens; control tokens are left out unless `keep_special`. As the `tokenizers` library
  // decodes, but without its clean-up of spaces; a leading space that the model's own decoder strips is
  // stripped.
  std::string decode(std::span<const int32_t> ids, bool keep_special = false) const;

  int32_t vocab_size() const;
  std::string token_bytes(int32_t id) const;  // the raw bytes one token stands for, mid-text
  bool is_special(int32_t id) const;          // control tokens, which decode leaves out
  std::optional<int32_t> find_token(
      std::string_view text) const;  // a whole token by its text, e.g. "<|im_end|>"
  std::optional<int32_t> bos() const;
  std::optional<int32_t> eos() const;
  bool adds_bos() const;  // whether add_special puts BOS first
  // Ids that end a turn: EOS and the known end-of-turn tokens (<|im_end|>, <|eot_id|>, <end_of_turn>, ...).
  const std::vector<int32_t>& stop_ids() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

// Turns a stream of tokens into text that never ends within a UTF-8 character: bytes that could still become
// one are held back until the next token or the end, where they become U+FFFD.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}
  std::string push(int32_t id);  // the text that is now certain; may be empty
  std::string finish();          // what is left

 private:
  const Tokenizer* tokenizer_;
  std::string pending_;
  bool at_start_ = true;
};

}  // namespace chorus
