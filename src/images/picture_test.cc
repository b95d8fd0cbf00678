#include "images/picture.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace chorus {
namespace {

using namespace std::string_literals;

void expect_size(const std::string& bytes, int width, int height) {
  const PictureSize size = read_picture_size(bytes);
  EXPECT_EQ(size.width, width);
  EXPECT_EQ(size.height, height);
  for (size_t cut = 0; cut < bytes.size(); ++cut)
    EXPECT_THROW(read_picture_size(bytes.substr(0, cut)), Error) << cut << " of " << bytes.size();
}

std::string png(const std::string& sides) { return "\x89PNG\r\n\x1a\n\0\0\0\rIHDR"s + sides; }

TEST(Picture, SizesOfAllKinds) {
  expect_size(png("\0\0\4\0\0\0\3\x80"s), 1024, 896);
  expect_size("\xff\xd8\xff\xe0\0\4AB\xff\xff\xc2\0\x11\x08\1\2\3\4"s, 0x304, 0x102);
  expect_size("RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\1\x2a\x40\1\xf0\0"s, 320, 240);
  expect_size("RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f\x3f\xc1\x3b\0"s, 320, 240);
  expect_size("RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0\x3f\1\0\xef\0\0"s, 320, 240);
}

TEST(Picture, RefusesWhatIsNone) {
  for (const std::string& bytes :
       {""s, "GIF89a"s, "<html>"s, png("\0\0\0\0\0\0\0\1"s), png("\0\0\x20\1\0\0\0\1"s),
        png("\xff\xff\xff\xff\0\0\0\1"s), "\xff\xd8\xff\xd8"s})
    EXPECT_THROW(read_picture_size(bytes), Error) << bytes.size();
}

TEST(Picture, Base64) {
  EXPECT_EQ(decode_base64("aGVsbG8="), "hello");
  EXPECT_EQ(decode_base64("aGVsbA=="), "hell");
  EXPECT_EQ(decode_base64("data:image/png;base64,aGVs"), "hel");
  for (const char* text : {"", "a", "aGV", "aG!s", "data:image/png;base64,", "data:", "aGVsbG8=aGVs"})
    EXPECT_THROW(decode_base64(text), Error) << text;
}

}  // namespace
}  // namespace chorus
