#include "engine/directory_watch.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

class DirectoryWatchTest : public testing::Test {
 protected:
  DirectoryWatchTest() {
    fs::remove_all(directory_);
    fs::create_directory(directory_);
  }
  ~DirectoryWatchTest() override { fs::remove_all(directory_); }

  void write(const std::string& path, std::string_view text) const {
    fs::create_directories((directory_ / path).parent_path());
    std::ofstream(directory_ / path) << text;
  }
  // "name path settled" of what a look found, '?' for what may be acted on later.
  std::string look() {
    std::string found;
    for (const auto& [name, adapter] : watch_.look())
      found += fmt::format("{}={}{} ", name, adapter.path, adapter.settled ? "" : adapter.gone ? "!" : "?");
    return found;
  }

  const fs::path directory_ = fs::temp_directory_path() / fmt::format("chorus_watch_{}", getpid());
  DirectoryWatch watch_{directory_};
};

TEST_F(DirectoryWatchTest, FindsFoldersAndFiles) {
  write("elf/adapter_config.json", "{}");
  write("elf.gguf", "the folder has the name");
  write("b.gguf", "x");
  write(".hidden.gguf", "x");
  write(".hidden/adapter_config.json", "x");
  write("notes.txt", "x");
  write("empty/readme", "x");
  EXPECT_EQ(look(), "b=b.gguf? elf=elf? ");
  EXPECT_EQ(look(), "b=b.gguf elf=elf ");
}

TEST_F(DirectoryWatchTest, WaitsForTwoLooksThatAgree) {
  write("a.gguf", "1");
  EXPECT_EQ(look(), "a=a.gguf? ");
  for (int i = 0; i < 3; ++i) {
    std::ofstream(directory_ / "a.gguf", std::ios::app) << "more";
    EXPECT_EQ(look(), "a=a.gguf? ") << "it is still being written";
  }
  EXPECT_EQ(look(), "a=a.gguf ");
  write(".new", "other");
  fs::rename(directory_ / ".new", directory_ / "a.gguf");
  EXPECT_EQ(look(), "a=a.gguf? ") << "renamed over";
  EXPECT_EQ(look(), "a=a.gguf ");
  write("a/adapter_config.json", "{}");
  EXPECT_EQ(look(), "a=a? ") << "now from a folder";
}

TEST_F(DirectoryWatchTest, EveryFileOfAFolderCounts) {
  write("a/adapter_config.json", "{}");
  look();
  EXPECT_EQ(look(), "a=a ");
  for (const char* file : {"adapter_model.safetensors", "chat_template.jinja", "tokenizer_config.json"}) {
    write(std::string("a/") + file, "x");
    EXPECT_EQ(look(), "a=a? ") << file;
    EXPECT_EQ(look(), "a=a ") << file;
  }
  write("a/README.md", "x");
  EXPECT_EQ(look(), "a=a ") << "of no account";
}

TEST_F(DirectoryWatchTest, AMomentWithoutAFileIsNoRemoval) {
  write("a.gguf", "1");
  look();
  look();
  fs::rename(directory_ / "a.gguf", directory_ / ".a");
  EXPECT_EQ(look(), "a=a.gguf! ");
  fs::rename(directory_ / ".a", directory_ / "a.gguf");
  look();
  EXPECT_EQ(look(), "a=a.gguf ");
  fs::remove(directory_ / "a.gguf");
  EXPECT_EQ(look(), "a=a.gguf! ");
  EXPECT_EQ(look(), "");
}

// Volumes of Kubernetes: names link to ..data/name, and ..data to the version of the day.
TEST_F(DirectoryWatchTest, FollowsLinksInside) {
  write("..1/a.gguf", "one");
  write("..2/a.gguf", "two!");
  fs::create_directory_symlink("..1", directory_ / "..data");
  fs::create_symlink("..data/a.gguf", directory_ / "a.gguf");
  look();
  EXPECT_EQ(look(), "a=a.gguf ");
  fs::create_directory_symlink("..2", directory_ / "..new");
  fs::rename(directory_ / "..new", directory_ / "..data");
  EXPECT_EQ(look(), "a=a.gguf? ");
  EXPECT_EQ(watch_.look().at("a").stamps.at(0).second.size, 4u);
}

TEST_F(DirectoryWatchTest, ADirectoryThatCannotBeReadIsAnError) {
  fs::remove_all(directory_);
  EXPECT_THROW(watch_.look(), Error);
}

TEST(AdapterPaths, PathsBeneathADirectory) {
  const std::vector<std::string> prefixes = directory_prefixes("/srv/lora/../adapters/");
  const auto beneath = [&](std::string_view path) { return path_beneath(path, prefixes).value_or("-"); };
  EXPECT_EQ(beneath("elf"), "elf");
  EXPECT_EQ(beneath("./team//elf/"), "team/elf");
  EXPECT_EQ(beneath("/srv/adapters/elf"), "elf");
  for (const std::string path : {"", ".", "..", "../elf", "a/../b", "/", "/srv/adapters", "/srv/adapters/",
                                 "/srv/adapters2/elf", "/etc/passwd", "/srv/adapters/../x"}) {
    EXPECT_EQ(beneath(path), "-") << path;
  }
  EXPECT_EQ(beneath(std::string("a\0b", 3)), "-");
  EXPECT_EQ(beneath(std::string(5000, 'a')), "-");
}

}  // namespace
}  // namespace chorus
