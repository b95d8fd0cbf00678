#include "base/file_root.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

// Each case with the system call that keeps a path inside, and without it.
class FileRootTest : public testing::TestWithParam<bool> {
 protected:
  FileRootTest() {
    fs::remove_all(directory_);
    fs::create_directories(directory_ / "root/sub");
    write("root/file", "inside");
    write("root/sub/deep", "deep");
    write("outside", "outside");
  }
  ~FileRootTest() override { fs::remove_all(directory_); }

  void write(const std::string& path, std::string_view text) const {
    std::ofstream(directory_ / path) << text;
  }
  void link(const std::string& target, const std::string& path) const {
    fs::create_symlink(target, directory_ / "root" / path);
  }
  FileRoot root(Links links, size_t max_bytes = SIZE_MAX) const {
    FileRoot root(directory_ / "root", links, max_bytes);
    if (GetParam()) root.walk_by_hand();
    return root;
  }
  // The file's text, or the error.
  static std::string read(const FileRoot& root, const std::string& path) {
    try {
      return root.open(path).read_all(1000);
    } catch (const Error& error) {
      return error.what();
    }
  }

  const fs::path directory_ = fs::temp_directory_path() / fmt::format("chorus_file_root_{}", getpid());
};

TEST_P(FileRootTest, OpensWhatIsBeneath) {
  const FileRoot root = this->root(Links::kRefuse);
  EXPECT_EQ(read(root, "file"), "inside");
  EXPECT_EQ(read(root, "sub/deep"), "deep");
  EXPECT_EQ(read(root, "sub/../file"), "inside");
  EXPECT_TRUE(root.is_directory("sub"));
  EXPECT_TRUE(root.is_directory("."));
  EXPECT_FALSE(root.is_directory("file"));
  EXPECT_TRUE(root.is_missing("nothing"));
  EXPECT_TRUE(root.is_missing("file/nothing"));
  EXPECT_FALSE(root.is_missing("file"));
  EXPECT_EQ(read(root, "nothing"), "nothing: No such file or directory");
  EXPECT_EQ(root.look("file")->st_size, 6);
}

TEST_P(FileRootTest, NothingLeadsOut) {
  link("../outside", "up");
  link(directory_ / "outside", "absolute");
  link("..", "parent");
  link("/dev/zero", "zero");
  link("/proc/self/root", "magic");
  for (const Links links : {Links::kRefuse, Links::kInside}) {
    const FileRoot root = this->root(links);
    for (const std::string path : {"../outside", "sub/../../outside", "up", "absolute", "parent/outside",
                                   "zero", "magic/etc/passwd", "/etc/passwd", "", ".."}) {
      const std::string text = read(root, path);
      EXPECT_TRUE(text.starts_with(path + ": ")) << path << " -> " << text;
      EXPECT_EQ(text.find(directory_.string()), std::string::npos) << text;
      EXPECT_FALSE(root.look(path)) << path;
    }
    EXPECT_NE(read(root, std::string("file\0x", 6)), "inside");
  }
}

TEST_P(FileRootTest, LinksInside) {
  link("file", "to_file");
  link("sub", "to_sub");
  link("../to_sub/../file", "sub/round");  // by way of another link and back
  link("loop", "loop");
  const FileRoot inside = root(Links::kInside), refuse = root(Links::kRefuse);
  for (const std::string path : {"to_file", "sub/round"}) {
    EXPECT_EQ(read(inside, path), "inside") << path;
    EXPECT_EQ(read(refuse, path), path + ": symbolic links are not followed here");
  }
  EXPECT_EQ(read(inside, "to_sub/deep"), "deep");
  EXPECT_NE(read(refuse, "to_sub/deep"), "deep");
  EXPECT_TRUE(read(inside, "loop").starts_with("loop: "));
}

TEST_P(FileRootTest, RegularFilesOfSensibleSize) {
  ASSERT_EQ(mkfifo((directory_ / "root/fifo").c_str(), 0600), 0);
  write("root/sparse", "");
  fs::resize_file(directory_ / "root/sparse", uintmax_t{1} << 40);
  const FileRoot root = this->root(Links::kRefuse, 1000);
  EXPECT_EQ(read(root, "fifo"), "fifo: not a regular file");
  EXPECT_EQ(read(root, "sub"), "sub: not a regular file");
  EXPECT_EQ(read(root, "sparse"), "sparse: 1099511627776 bytes; at most 1000 can be loaded");
}

TEST_P(FileRootTest, FilesOfOthersAreRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  ASSERT_EQ(chown((directory_ / "root/file").c_str(), 12345, 12345), 0);
  EXPECT_NE(read(root(Links::kRefuse), "file").find("its owner"), std::string::npos);
  ASSERT_EQ(chown((directory_ / "root").c_str(), 12345, 12345), 0);
  EXPECT_EQ(read(root(Links::kRefuse), "file"), "inside");
}

TEST_P(FileRootTest, Names) {
  std::vector<std::string> names = root(Links::kRefuse).names(2).value_or(std::vector<std::string>());
  std::ranges::sort(names);
  EXPECT_EQ(names, (std::vector<std::string>{"file", "sub"}));
  EXPECT_FALSE(root(Links::kRefuse).names(1));
}

TEST_P(FileRootTest, TheRootMayBeReachedThroughLinks) {
  fs::create_directory_symlink(directory_ / "root", directory_ / "link");
  EXPECT_EQ(read(FileRoot(directory_ / "link", Links::kRefuse), "file"), "inside");
  EXPECT_THROW(FileRoot(directory_ / "nothing", Links::kRefuse), Error);
  EXPECT_THROW(FileRoot(directory_ / "outside", Links::kRefuse), Error);
}

TEST(FileRootAnywhere, FollowsTheOperator) {
  const FileRoot anywhere;
  EXPECT_TRUE(anywhere.is_directory("/proc/self/cwd"));
  EXPECT_GT(anywhere.open("/proc/self/exe").size(), 0u);
  const FileRoot proc("/proc/self", Links::kFollow);
  EXPECT_GT(proc.open("exe").size(), 0u);
  EXPECT_TRUE(proc.is_directory("cwd"));
}

INSTANTIATE_TEST_SUITE_P(Ways, FileRootTest, testing::Bool());

}  // namespace
}  // namespace chorus
