#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace chorus {

// A regular file mapped read-only. The pages are the page cache's, shared by all processes that map it.
class MappedFile {
 public:
  // Errors: no such file, not a regular file, not readable, empty.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }

  // Drops the pages of [offset, offset + size) from this process's resident set; a later read maps them
  // again.
  void release(size_t offset, size_t size) const;

 private:
  std::string path_;
  std::span<const std::byte> bytes_;
};

// Reads a whole regular file of at most `limit` bytes. Errors as MappedFile's, and a larger file.
std::string read_file(const std::string& path, size_t limit);

}  // namespace chorus
