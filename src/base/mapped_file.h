#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace chorus {

// Tells a file as it is now from what it, or another of its path, was before or will be: the time of the last
// change is the system's own and cannot be set.
struct FileStamp {
  uint64_t device = 0, inode = 0, size = 0;
  int64_t modified_ns = 0, changed_ns = 0;
};

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
  const FileStamp& stamp() const { return stamp_; }  // when it was opened

  // Drops the pages of [offset, offset + size) from this process's resident set; a later read maps them
  // again.
  void release(size_t offset, size_t size) const;
  // Of a mapped file that will be read whole, again and again: has the system start to read it, and map it by
  // huge pages where it can.
  void read_ahead() const;

 private:
  std::string path_;
  std::span<const std::byte> bytes_;
  FileStamp stamp_;
  Access access_;
};

// Reads a whole regular file of at most `limit` bytes. Errors as MappedFile's, and a larger file.
std::string read_file(const std::string& path, size_t limit);

}  // namespace chorus
