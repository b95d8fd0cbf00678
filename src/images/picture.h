#pragma once

#include <string>
#include <string_view>

namespace chorus {

// What the head of a picture's file says.
struct PictureSize {
  int width = 0, height = 0;
};

constexpr int kMaxPictureSide = 8192;

// Reads the size out of a PNG, JPEG or WebP. Error: it is none of them, is cut off before its size, or has a
// side of 0 or of more than kMaxPictureSide.
PictureSize read_picture_size(std::string_view bytes);

// Base64 as engines send it, with or without "data:image/...;base64," before it, to bytes. Error: it is none.
std::string decode_base64(std::string_view text);

}  // namespace chorus
