#pragma once

#include <string_view>

#include "base/utf8.h"

namespace chorus {

// Whether `text` is valid UTF-8 without NUL.
inline bool is_clean_text(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == 0) return false;
    if (byte < 0x80) {
      ++i;
      continue;
    }
    const Utf8Char c = decode_utf8(text.substr(i));
    if (!c.valid) return false;
    i += c.length;
  }
  return true;
}

}  // namespace chorus
