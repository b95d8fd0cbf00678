#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace chorus {

// One decoded character of UTF-8 text (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF).
struct Utf8Char {
  uint32_t code_point;  // U+FFFD where not valid
  size_t length;        // bytes consumed: 1..4; for an invalid one, its maximal valid prefix, at least 1
  bool valid;
  bool truncated;  // the text ended within what could still have become a valid character
};

// Decodes the first character of `text`, which must not be empty.
Utf8Char decode_utf8(std::string_view text);

// Appends the UTF-8 form of a code point up to U+10FFFF.
void append_utf8(std::string& out, uint32_t code_point);

}  // namespace chorus
