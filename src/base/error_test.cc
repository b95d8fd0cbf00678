#include "base/error.h"

#include <gtest/gtest.h>

namespace chorus {
namespace {

TEST(Printable, EscapesControlAndBrokenUtf8) {
  EXPECT_EQ(printable("a\nb"), "a\\x0ab");
  EXPECT_EQ(printable("caf\xC3\xA9 \xC3"), "caf\xC3\xA9 \\xc3");
  EXPECT_EQ(printable("\xE2\x82"), "\\xe2\\x82");
}

TEST(Printable, CutsLongText) { EXPECT_EQ(printable(std::string(100, 'x'), 5), "xxxxx..."); }

TEST(Fail, FormatsTheText) {
  try {
    fail("{}: head_count is {}", "f.gguf", 0);
    FAIL() << "no exception";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "f.gguf: head_count is 0");
  }
}

}  // namespace
}  // namespace chorus
