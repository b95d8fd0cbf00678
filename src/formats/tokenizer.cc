#include "formats/tokenizer.h"

#include <algorithm>
#include <array>
#include <limits>

#include "base/error.h"
#include "formats/tokenizer_impl.h"

namespace chorus {
namespace {

// Tokens that end a turn or a document, whatever the file calls EOS.
constexpr auto kStopTokens = std::to_array<std::string_view>(
    {"<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>", "<end_of_turn>", "<|end|>",
     "<|eot|>", "</s>", "<eos>", "<|end_of_turn|>", "<|return|>", "<\uFF5Cend\u2581of\u2581sentence\uFF5C>"});

void check_size(size_t bytes) {
  constexpr size_t kMaxBytes = std::numeric_limits<int32_t>::max();
  if (bytes > kMaxBytes) fail("a text of {} bytes to tokenize; at most {}", bytes, kMaxBytes);
}

}  // namespace

void TokenizerData::add_token(int32_t id, std::string text, std::string_view where) {
  if (static_cast<size_t>(id) >= tokens.size()) tokens.resize(static_cast<size_t>(id) + 1);
  Token& token = tokens[static_cast<size_t>(id)];
  if (!token.text.empty()) {
    fail("{}: id {} is both '{}' and '{}'", where, id, printable(token.text), printable(text));
  }
  if (!ids.emplace(text, id).second) fail("{}: the token '{}' is there twice", where, printable(text));
  token.text = std::move(text);
}

std::string TokenizerData::add_added(const AddedToken& token, std::string_view where) {
  Token& entry = tokens[static_cast<size_t>(token.id)];
  entry.special = token.special;
  entry.stops = std::find(kStopTokens.begin(), kStopTokens.end(), token.content) != kStopTokens.end();
  std::string pattern = token.normalized ? normalize(normalizer, token.content) : token.content;
  if (pattern.empty()) return pattern;
  if (pattern.size() > AddedTokenMatcher::kMaxBytes) {
    fail("{}: an added token of {} bytes; at most {}", where, pattern.size(), AddedTokenMatcher::kMaxBytes);
  }
  (token.normalized ? normalized_added : raw_added).add(pattern, token);
  return pattern;
}

void TokenizerData::finish() {
  if (eos) stop_ids.push_back(*eos);
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id].stops && static_cast<int32_t>(id) != eos) stop_ids.push_back(static_cast<int32_t>(id));
  }
}

// Encodes raw text without raw added tokens.
void TokenizerData::encode_text(std::string text, bool at_start, bool special, Bpe::Scratch& scratch,
                                std::vector<int32_t>& out) const {
  Pieces pieces;
  const auto encode_pieces = [&] {
    check_size(pieces.text.size());  // a normalizer may have made it longer
    pre_tokenize(pre_tokenizer, pieces);
    const std::string_view all = pieces.text;
    check_size(all.size());
    for (const Span& span : pieces.spans)
      bpe->encode(all.substr(span.begin, span.end - span.begin), scratch, out);
  };
  text = normalize(normalizer, std::move(text));
  if (normalized_added.empty()) {
    pieces.text = std::move(text);
    pieces.at_start = at_start;
    encode_pieces();
    return;
  }
  for (const auto& fragment : normalized_added.split(text, special)) {
    if (fragment.id >= 0) {
      out.push_back(fragment.id);
      continue;
    }
    pieces.text = text.substr(fragment.begin, fragment.end - fragment.begin);
    pieces.at_start = at_start && fragment.begin == 0;
    encode_pieces();
  }
}

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

std::vector<int32_t> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  check_size(text.size());
  const std::string valid = to_valid_utf8(text);
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + 8);
  if (options.add_special) ids = impl_->prefix;
  Bpe::Scratch scratch;
  for (const auto& fragment : impl_->raw_added.split(valid, options.parse_special)) {
    if (fragment.id >= 0) {
      ids.push_back(fragment.id);
    } else {
      impl_->encode_text(valid.substr(fragment.begin, fragment.end - fragment.begin), fragment.begin == 0,
                         options.parse_special, scratch, ids);
    }
  }
  if (options.add_special) ids.insert(ids.end(), impl_->suffix.begin(), impl_->suffix.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool keep_special) const {
  std::string out;
  bool first = true;
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocab_size()) continue;
    const Token& token = impl_->tokens[static_cast<size_t>(id)];
    if (token.text.empty() || (token.special && !keep_special)) continue;
    const size_t begin = out.size();
    out += token.bytes;
    if (first && impl_->leading_space == LeadingSpace::kStripFirstToken) std::erase(out, ' ');
    if (begin == 0 && impl_->leading_space == LeadingSpace::kStripOne && first && out.starts_with(' ')) {
      out.erase(0, 1);
    }
    first = false;
  }
  return out;
}

int32_t Tokenizer::vocab_size() const { return static_cast<int32_t>(impl_->tokens.size()); }

std::string Tokenizer::token_bytes(int32_t id) const {
  return id < 0 || id >= vocab_size() ? std::string() : impl_->tokens[static_cast<size_t>(id)].bytes;
}

bool Tokenizer::is_special(int32_t id) const {
  return id >= 0 && id < vocab_size() && impl_->tokens[static_cast<size_t>(id)].special;
}

std::optional<int32_t> Tokenizer::find_token(std::string_view text) const {
  const auto found = impl_->ids.find(text);
  return found == impl_->ids.end() ? std::nullopt : std::optional(found->second);
}

std::optional<int32_t> Tokenizer::bos() const { return impl_->bos; }
std::optional<int32_t> Tokenizer::eos() const { return impl_->eos; }

bool Tokenizer::adds_bos() const {
  return impl_->bos && !impl_->prefix.empty() && impl_->prefix.front() == *impl_->bos;
}

const std::vector<int32_t>& Tokenizer::stop_ids() const { return impl_->stop_ids; }

}  // namespace chorus
