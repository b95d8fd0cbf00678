#include "formats/byte_level.h"

#include <array>
#include <cstdint>

#include "base/utf8.h"

namespace chorus {
namespace {

constexpr bool stands_for_itself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

constexpr std::array<uint32_t, 256> make_characters() {
  std::array<uint32_t, 256> table{};
  uint32_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) table[byte] = stands_for_itself(byte) ? byte : next++;
  return table;
}

constexpr std::array<uint32_t, 256> kCharacters = make_characters();
constexpr uint32_t kEnd = 0x100 + 68;

constexpr std::array<int16_t, kEnd> make_bytes() {
  std::array<int16_t, kEnd> table{};
  for (int16_t& byte : table) byte = -1;
  for (uint32_t byte = 0; byte < 256; ++byte) table[kCharacters[byte]] = static_cast<int16_t>(byte);
  return table;
}

constexpr std::array<int16_t, kEnd> kBytes = make_bytes();

constexpr int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

std::string to_byte_level(std::string_view bytes) {
  std::string out;
  out.reserve(2 * bytes.size());
  for (const char c : bytes) append_utf8(out, kCharacters[static_cast<unsigned char>(c)]);
  return out;
}

std::optional<std::string> from_byte_level(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = decode_utf8(text.substr(i));
    if (!c.valid || c.code_point >= kEnd || kBytes[c.code_point] < 0) return std::nullopt;
    out += static_cast<char>(static_cast<unsigned char>(kBytes[c.code_point]));
    i += c.length;
  }
  return out;
}

std::optional<unsigned char> parse_byte_token(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  const int high = hex_digit(text[3]);
  const int low = hex_digit(text[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<unsigned char>(16 * high + low);
}

}  // namespace chorus
