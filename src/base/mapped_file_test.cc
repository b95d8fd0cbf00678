#include "base/mapped_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace chorus {
namespace {

class MappedFileTest : public testing::Test {
 protected:
  void SetUp() override { write("first content"); }
  void TearDown() override { std::filesystem::remove(path_); }
  void write(const std::string& text) const { std::ofstream(path_, std::ios::binary) << text; }
  static std::string text_of(const MappedFile& file) {
    return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
  }
  const std::string path_ = testing::TempDir() + "mapped_file_test_" + std::to_string(getpid());
};

TEST_F(MappedFileTest, BothWaysGiveTheBytes) {
  EXPECT_EQ(text_of(MappedFile(path_)), "first content");
  EXPECT_EQ(text_of(MappedFile(path_, MappedFile::Access::kCopy)), "first content");
  EXPECT_EQ(read_file(path_, 100), "first content");
}

TEST_F(MappedFileTest, ACopySeesNothingOfWhatHappensToTheFile) {
  const MappedFile copy(path_, MappedFile::Access::kCopy);
  write("2nd");  // truncates: a map's lost page would raise SIGBUS
  copy.release(0, copy.bytes().size());
  EXPECT_EQ(text_of(copy), "first content");
}

TEST_F(MappedFileTest, RefusesWhatIsNoSuitableFile) {
  EXPECT_THROW(MappedFile(path_ + ".none"), Error);
  EXPECT_THROW(MappedFile("/dev/zero"), Error);
  EXPECT_THROW(MappedFile(testing::TempDir()), Error);
  EXPECT_THROW(read_file(path_, 5), Error);
  write("");
  EXPECT_THROW(MappedFile{path_}, Error);
  std::filesystem::resize_file(path_, size_t{3} << 30);  // sparse
  EXPECT_THROW(MappedFile(path_, MappedFile::Access::kCopy), Error);
}

}  // namespace
}  // namespace chorus
