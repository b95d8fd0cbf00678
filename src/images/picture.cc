#include "images/picture.h"

#include <openssl/evp.h>

#include <cstdint>

#include "base/error.h"

namespace chorus {
namespace {

uint8_t byte_at(std::string_view bytes, size_t at) {
  if (at >= bytes.size()) fail("the picture is cut off");
  return static_cast<uint8_t>(bytes[at]);
}

int big_endian(std::string_view bytes, size_t at, int count) {
  uint32_t value = 0;
  for (int i = 0; i < count; ++i) value = value << 8U | byte_at(bytes, at + static_cast<size_t>(i));
  return value > INT32_MAX ? INT32_MAX : static_cast<int>(value);
}

int little_endian(std::string_view bytes, size_t at, int count) {
  uint32_t value = 0;
  for (int i = count - 1; i >= 0; --i) value = value << 8U | byte_at(bytes, at + static_cast<size_t>(i));
  return static_cast<int>(value);
}

// IHDR is the first chunk.
PictureSize png_size(std::string_view bytes) { return {big_endian(bytes, 16, 4), big_endian(bytes, 20, 4)}; }

// The first start-of-frame segment (ISO/IEC 10918-1, B.2.2).
PictureSize jpeg_size(std::string_view bytes) {
  for (size_t at = 2;;) {
    if (byte_at(bytes, at) != 0xff) fail("the picture is no JPEG inside");
    const uint8_t marker = byte_at(bytes, at + 1);
    if (marker == 0xff) {
      ++at;
      continue;
    }
    const bool frame = marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
    if (frame) return {big_endian(bytes, at + 7, 2), big_endian(bytes, at + 5, 2)};
    at += 2 + static_cast<size_t>(big_endian(bytes, at + 2, 2));
  }
}

// RFC 9649: lossy, lossless or extended.
PictureSize webp_size(std::string_view bytes) {
  const std::string_view kind = bytes.substr(12, 4);
  if (kind == "VP8 ") return {little_endian(bytes, 26, 2) & 0x3fff, little_endian(bytes, 28, 2) & 0x3fff};
  if (kind == "VP8X") return {little_endian(bytes, 24, 3) + 1, little_endian(bytes, 27, 3) + 1};
  if (kind != "VP8L") fail("the picture is a WebP of an unknown kind");
  const int bits = little_endian(bytes, 21, 4);
  return {(bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1};
}

PictureSize any_size(std::string_view bytes) {
  if (bytes.starts_with("\x89PNG\r\n\x1a\n")) return png_size(bytes);
  if (bytes.starts_with("\xff\xd8")) return jpeg_size(bytes);
  if (bytes.starts_with("RIFF") && bytes.size() >= 16 && bytes.substr(8, 4) == "WEBP")
    return webp_size(bytes);
  fail("the picture is no PNG, JPEG or WebP");
}

}  // namespace

PictureSize read_picture_size(std::string_view bytes) {
  const PictureSize size = any_size(bytes);
  if (size.width < 1 || size.height < 1 || size.width > kMaxPictureSide || size.height > kMaxPictureSide)
    fail("the picture has {} x {} pixels; at most {} a side", size.width, size.height, kMaxPictureSide);
  return size;
}

std::string decode_base64(std::string_view text) {
  if (text.starts_with("data:")) text.remove_prefix(std::min(text.find(','), text.size() - 1) + 1);
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  if (text.empty() || text.size() % 4 != 0 || text.find('=') < text.size() - padding)
    fail("the picture is no base64");
  std::string bytes(text.size() / 4 * 3, '\0');
  const int size =
      EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                      reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (size < 0) fail("the picture is no base64");
  bytes.resize(static_cast<size_t>(size) - padding);
  return bytes;
}

}  // namespace chorus
