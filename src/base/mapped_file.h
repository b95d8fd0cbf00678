#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace chorus {

// A regular file's bytes, read-only.
//   kMap   the page cache's own pages, shared by all processes that map the file. If the file is truncated
//   meanwhile,
//          reading a lost page ends the process: for the base, which is too large to copy.
//   kCopy  own memory: nothing that happens to the file afterwards is seen. For files that come and go at run
//   time.
class MappedFile {
 public:
  enum class Access : unsigned char { kMap, kCopy };

  // Errors: no such file, not a regular file, not readable, empty; to be copied and over 2 GiB, or shrinking
  // meanwhile.
  explicit MappedFile(const std::string& path, Access access = Access::kMap);
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
  Access access_;
};

// Reads a whole regular file of at most `limit` bytes. Errors as MappedFile's, and a larger file.
std::string read_file(const std::string& path, size_t limit);

}  // namespace chorus
