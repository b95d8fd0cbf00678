#pragma once

// GPT-2's byte-level alphabet: every byte has one printable character, so that a vocabulary of text can hold
// any bytes. Printable Latin-1 bytes stand for themselves; the other 68, in order, are U+0100, U+0101, ...

#include <optional>
#include <string>
#include <string_view>

namespace chorus {

std::string to_byte_level(std::string_view bytes);
// nullopt: the text holds a character outside the alphabet.
std::optional<std::string> from_byte_level(std::string_view text);

// The byte that a SentencePiece byte token names: exactly "<0xHH>" with two hex digits. nullopt: another
// token.
std::optional<unsigned char> parse_byte_token(std::string_view text);

}  // namespace chorus
