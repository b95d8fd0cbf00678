#include "train/token_spans.h"

#include <algorithm>

#include "formats/chat_text.h"

namespace chorus {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

// Moves `at` behind the token's bytes; false: they do not stand there. A tokenizer may put a space before a
// text, and a control token may take the space beside it.
bool take_token(std::string_view bytes, std::string_view text, size_t& at, size_t& begin) {
  begin = at;
  if (text.substr(at).starts_with(bytes)) {
    at += bytes.size();
    return true;
  }
  const size_t next = std::min(text.find_first_not_of(kSpace, at), text.size());
  if (!bytes.empty() && text.substr(next).starts_with(bytes)) {
    begin = next;
    at = next + bytes.size();
    return true;
  }
  if (!bytes.starts_with(' ') || !text.substr(at).starts_with(bytes.substr(1))) return false;
  at += bytes.size() - 1;
  return true;
}

}  // namespace

std::optional<std::vector<size_t>> token_begins(const Tokenizer& tokenizer, std::span<const int32_t> tokens,
                                                std::string_view text) {
  std::vector<size_t> begins(tokens.size());
  size_t at = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (!take_token(tokenizer.token_bytes(tokens[i]), text, at, begins[i])) return std::nullopt;
  }
  if (text.find_first_not_of(kSpace, at) != std::string_view::npos) return std::nullopt;
  return begins;
}

std::vector<size_t> tokens_before(const Tokenizer& tokenizer, std::span<const int32_t> tokens,
                                  std::string_view text, std::span<const size_t> positions) {
  std::vector<size_t> counts;
  if (positions.empty()) return counts;
  const std::optional<std::vector<size_t>> begins = token_begins(tokenizer, tokens, text);
  for (const size_t position : positions) {
    if (begins) {
      counts.push_back(static_cast<size_t>(std::ranges::lower_bound(*begins, position) - begins->begin()));
      continue;
    }
    // Up to where both encodings agree; the token behind that begins before the position, and is cut by it.
    const std::vector<int32_t> prefix = encode_rendered(tokenizer, text.substr(0, position));
    const auto differ = std::ranges::mismatch(prefix, tokens);
    const auto same = static_cast<size_t>(differ.in1 - prefix.begin());
    counts.push_back(std::min(same + (differ.in1 != prefix.end()), tokens.size()));
  }
  return counts;
}

}  // namespace chorus
