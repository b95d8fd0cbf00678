#include "formats/chat_text.h"

#include <algorithm>

namespace chorus {
namespace {

std::string token_text(const Tokenizer& tokenizer, std::optional<int32_t> id) {
  return id ? tokenizer.token_bytes(*id) : std::string();
}

}  // namespace

std::string render_chat(const ChatTemplate& chat_template, const Tokenizer& tokenizer, json::object variables,
                        bool add_generation_prompt) {
  variables["add_generation_prompt"] = add_generation_prompt;
  variables["bos_token"] = token_text(tokenizer, tokenizer.bos());
  variables["eos_token"] = token_text(tokenizer, tokenizer.eos());
  return chat_template.render(variables);
}

std::vector<int32_t> encode_rendered(const Tokenizer& tokenizer, std::string_view text) {
  return tokenizer.encode(text, {.add_special = false, .parse_special = true});
}

std::vector<int32_t> encode_continuation(const Tokenizer& tokenizer, std::string_view text) {
  const std::vector<int32_t> letter = encode_rendered(tokenizer, "a");
  const bool adds_space = !letter.empty() && tokenizer.token_bytes(letter[0]).starts_with(' ');
  if (!adds_space) return encode_rendered(tokenizer, text);
  // The space goes before a line feed, with which no token of such vocabularies begins.
  const std::vector<int32_t> before = encode_rendered(tokenizer, "\n");
  std::vector<int32_t> ids = encode_rendered(tokenizer, "\n" + std::string(text));
  if (!std::ranges::equal(before, std::span(ids).first(std::min(before.size(), ids.size()))))
    return encode_rendered(tokenizer, text);
  ids.erase(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(before.size()));
  return ids;
}

}  // namespace chorus
