#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "formats/tokenizer.h"

namespace chorus {

// Where in `text` each token of its encoding begins, in bytes. None: the tokenizer rewrote the text (a normal
// form, an unknown character), so that the tokens' bytes are not those of the text.
std::optional<std::vector<size_t>> token_begins(const Tokenizer& tokenizer, std::span<const int32_t> tokens,
                                                std::string_view text);

// How many tokens of the encoding of `text` begin before each of the positions, which ascend. Where the
// tokenizer rewrote the text, each costs an encoding of the text up to it.
std::vector<size_t> tokens_before(const Tokenizer& tokenizer, std::span<const int32_t> tokens,
                                  std::string_view text, std::span<const size_t> positions);

}  // namespace chorus
