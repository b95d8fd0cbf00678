#include "base/atomic_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "base/error.h"
#include "base/mapped_file.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

struct TestDir {
  fs::path path = fs::temp_directory_path() / fmt::format("chorus_atomic_file_{}", getpid());
  TestDir() { fs::create_directories(path); }
  ~TestDir() { fs::remove_all(path); }
  std::string file() const { return (path / "f").string(); }
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(path), fs::directory_iterator{}));
  }
};

TEST(AtomicFile, ReplacesTheOldFileAtCommit) {
  const TestDir dir;
  for (const std::string& text : {std::string("old"), std::string(3u << 20, 'n')}) {
    AtomicFile file(dir.file());
    file.write(std::string_view(text).substr(0, 1));
    file.write(std::string_view(text).substr(1));
    file.commit();
    EXPECT_EQ(read_file(dir.file(), 10u << 20), text);
  }
  EXPECT_EQ(dir.entries(), 1u);
}

TEST(AtomicFile, LeavesNothingWithoutCommit) {
  const TestDir dir;
  { AtomicFile(dir.file()).write("half"); }
  EXPECT_EQ(dir.entries(), 0u);
}

TEST(AtomicFile, WhatACrashLeftIsRemoved) {
  const TestDir dir;
  for (const char* name : {"f", "f.0123abcd.tmp", "f.tmp2", "g.0123abcd.tmp"}) {
    AtomicFile file((dir.path / name).string());
    file.write("x");
    file.commit();
  }
  remove_unfinished(dir.file());
  EXPECT_FALSE(fs::exists(dir.path / "f.0123abcd.tmp"));
  EXPECT_EQ(dir.entries(), 3u);
}

TEST(AtomicFile, NamesTheFileWhenTheDirectoryIsMissing) {
  try {
    AtomicFile file("/nonexistent/x.gguf");
    FAIL() << "no exception";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("/nonexistent/x.gguf: cannot create"), std::string::npos)
        << e.what();
  }
}

// A limit on file sizes stands in for a full disk: write() fails half way either way.
TEST(AtomicFile, AFailedWriteKeepsTheOldFileAndRemovesItsOwn) {
  const TestDir dir;
  {
    AtomicFile file(dir.file());
    file.write("old");
    file.commit();
  }
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{1u << 20, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string message;
  try {
    AtomicFile file(dir.file());
    file.write(std::string(2u << 20, 'x'));
    file.commit();
  } catch (const Error& e) {
    message = e.what();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(message.find(dir.file() + ": cannot write"), std::string::npos) << message;
  EXPECT_EQ(read_file(dir.file(), 100), "old");
  EXPECT_EQ(dir.entries(), 1u);
}

}  // namespace
}  // namespace chorus
