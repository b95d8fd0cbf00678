#include "server/multipart.h"

#include <gtest/gtest.h>

#include "server/api_error.h"

namespace chorus {
namespace {

constexpr const char* kType = "multipart/form-data; boundary=X1";

std::string part(const std::string& head, const std::string& content) {
  return "--X1\r\n" + head + "\r\n\r\n" + content + "\r\n";
}
const std::string kPurpose = part("Content-Disposition: form-data; name=\"purpose\"", "fine-tune");

TEST(Multipart, ReadsPartsByName) {
  const std::string binary("a\r\n--X\r\n\0--X2\r\n", 15);
  const std::string body = kPurpose +
                           part(
                               "content-type: text/plain\r\nCONTENT-DISPOSITION: form-data; filename=\"a "
                               "\\\"b\\\";.jsonl\"; name=file",
                               binary) +
                           part("Content-Disposition: form-data; name=empty", "") + "--X1--\r\n";
  for (const char* type : {kType, "Multipart/Form-Data; charset=x; boundary=\"X1\""}) {
    const std::vector<FormPart> parts = read_form(type, body);
    ASSERT_EQ(parts.size(), 3U);
    EXPECT_EQ(parts[0].name, "purpose");
    EXPECT_EQ(parts[0].content, "fine-tune");
    EXPECT_EQ(parts[0].filename, "");
    EXPECT_EQ(parts[1].name, "file");
    EXPECT_EQ(parts[1].filename, "a \"b\";.jsonl");
    EXPECT_EQ(parts[1].content, binary);
    EXPECT_EQ(parts[2].content, "");
  }
}

// Whatever is cut off or put in is refused, or a form of its own, and nothing reads beyond the body.
TEST(Multipart, WhateverIsCutIsRefused) {
  const std::string body =
      kPurpose + part("Content-Disposition: form-data; name=file; filename=a", "12") + "--X1--";
  for (size_t size = 0; size < body.size(); ++size) {
    const std::string cut(body.data(), size);
    EXPECT_THROW(read_form(kType, cut), ApiError) << cut;
  }
  EXPECT_EQ(read_form(kType, body).size(), 2U);
  std::string many;
  for (size_t i = 0; i <= kMaxFormParts; ++i) many += kPurpose;
  EXPECT_THROW(read_form(kType, many + "--X1--"), ApiError);
  EXPECT_THROW(read_form(kType, part(std::string(5000, 'a') + ": b", "x") + "--X1--"), ApiError);
  EXPECT_THROW(read_form(kType, part("a: b", "x") + "--X1--"), ApiError) << "no name";
  EXPECT_THROW(read_form(kType, part("Content-Disposition: form-data; name=\"", "x") + "--X1--"), ApiError);
  for (const char* type :
       {"", "multipart/form-data", "multipart/form-data; boundary=", "text/plain; boundary=X1",
        "multipart/form-data; boundary", "multipart/form-data;;;=;\"\\"}) {
    EXPECT_THROW(read_form(type, body), ApiError) << type;
  }
  EXPECT_THROW(read_form("multipart/form-data; boundary=" + std::string(71, 'X'), body), ApiError);
}

}  // namespace
}  // namespace chorus
