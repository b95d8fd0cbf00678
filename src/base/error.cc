#include "base/error.h"

#include "base/utf8.h"

namespace chorus {

std::string printable(std::string_view text, size_t limit) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (out.size() >= limit) return out + "...";
    const Utf8Char c = decode_utf8(text.substr(i));
    if (!c.valid || c.code_point < 0x20 || (c.code_point >= 0x7F && c.code_point < 0xA0)) {
      for (size_t j = 0; j < c.length; ++j)
        out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[i + j]));
    } else {
      out += text.substr(i, c.length);
    }
    i += c.length;
  }
  return out;
}

}  // namespace chorus
