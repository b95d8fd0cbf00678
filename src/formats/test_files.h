#pragma once

// What the tests of formats/ share: files of given bytes, and the bytes of a GGUF header piece by piece.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/memory_file.h"

namespace chorus {

// A file that is gone with the object.
class TestFile {
 public:
  explicit TestFile(std::string_view bytes = {}) { write(bytes); }
  ~TestFile() { std::filesystem::remove(path_); }
  TestFile(const TestFile&) = delete;
  TestFile& operator=(const TestFile&) = delete;

  const std::string& path() const { return path_; }
  void write(std::string_view bytes) const {
    std::ofstream(path_, std::ios::binary | std::ios::trunc)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }

 private:
  std::string path_ = (std::filesystem::temp_directory_path() /
                       fmt::format("chorus_{}_{}", getpid(), static_cast<const void*>(this)))
                          .string();
};

// The text of the Error that `action` throws; a failure and "" where it throws none.
template <typename Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const Error& e) {
    return e.what();
  }
  ADD_FAILURE() << "no Error";
  return "";
}

// `bytes` with one to four of them overwritten at random.
inline std::string damage(std::string bytes, std::mt19937& random) {
  for (auto count = 1 + random() % 4; count > 0; --count)
    bytes[random() % bytes.size()] = static_cast<char>(random() % 256);
  return bytes;
}

struct Bytes {
  std::string text;

  template <typename T>
  Bytes& number(T value) {
    text.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Bytes& u8(uint8_t value) { return number(value); }
  Bytes& u32(uint32_t value) { return number(value); }
  Bytes& u64(uint64_t value) { return number(value); }
  Bytes& raw(std::string_view bytes) {
    text += bytes;
    return *this;
  }
  Bytes& str(std::string_view bytes) { return u64(bytes.size()).raw(bytes); }
};

}  // namespace chorus
