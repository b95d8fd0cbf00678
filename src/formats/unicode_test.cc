#include "formats/unicode.h"

#include <gtest/gtest.h>

#include "formats/byte_level.h"

namespace chorus {
namespace {

TEST(Unicode, ReplacesInvalidBytes) {
  EXPECT_EQ(to_valid_utf8("caf\xC3\xA9"), "caf\u00E9");
  EXPECT_EQ(to_valid_utf8("\xF0\x9F\x91z\x80"), "\uFFFDz\uFFFD");
}

TEST(Unicode, NormalForms) {
  EXPECT_EQ(normal_form("e\u0301", NormalForm::kNfc), "\u00E9");
  EXPECT_EQ(normal_form("\u00E9", NormalForm::kNfd), "e\u0301");
  EXPECT_EQ(normal_form("\uFB01\u2460", NormalForm::kNfkc), "fi1");
  EXPECT_EQ(normal_form("\u1100\u1161\u11A8", NormalForm::kNfc), "\uAC01");
  EXPECT_EQ(normal_form("q\u0307\u0323", NormalForm::kNfc), "q\u0323\u0307");
  EXPECT_EQ(normal_form("\u0958", NormalForm::kNfc), "\u0915\u093C");  // a composition exclusion
  EXPECT_EQ(normal_form(std::string("\0a", 2), NormalForm::kNfkd), std::string("\0a", 2));
}

TEST(Unicode, OrdersALongRunOfMarks) {
  std::string text = "a";
  for (int i = 0; i < 300'000; ++i) text += "\u0301\u0316";
  const std::string sorted = normal_form(text, NormalForm::kNfd);
  EXPECT_EQ(sorted.size(), text.size());
  EXPECT_EQ(sorted.substr(0, 5), "a\u0316\u0316");
}

TEST(Unicode, LowercasesEachCharacter) {
  EXPECT_EQ(lowercase("\u00C4\u03A3\u0130A"), "\u00E4\u03C3i\u0307a");
}

TEST(Unicode, WhiteSpaceAtTheEnds) {
  EXPECT_EQ(white_space_prefix("\u3000 a "), 4u);
  EXPECT_EQ(white_space_suffix("\u3000 a\u00A0\n"), 3u);
  EXPECT_EQ(white_space_suffix("  "), 2u);
  EXPECT_EQ(white_space_prefix(""), 0u);
}

TEST(ByteLevel, EveryByteHasACharacter) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(static_cast<unsigned char>(byte));
  EXPECT_EQ(from_byte_level(to_byte_level(all)), all);
  EXPECT_EQ(to_byte_level(" \n"), "\u0120\u010A");
  EXPECT_EQ(from_byte_level("a b"), std::nullopt);
  EXPECT_EQ(from_byte_level("\u0144"), std::nullopt);
}

TEST(ByteLevel, ByteTokensAreTwoHexDigits) {
  EXPECT_EQ(parse_byte_token("<0x0A>"), 10);
  EXPECT_EQ(parse_byte_token("<0xfF>"), 255);
  for (const char* text : {"<0x-1>", "<0xZZ>", "<0xA>", "<0x0AB>", "<0X0A>", "0x0A", "", "<0x0A"}) {
    EXPECT_EQ(parse_byte_token(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace chorus
