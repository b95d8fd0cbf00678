#pragma once

#include <sys/stat.h>

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
  bool operator==(const FileStamp&) const = default;
};

// A regular file, open for reading.
class RegularFile {
 public:
  // Errors: no such file, not a regular file, not readable. A FIFO or device holds nobody up.
  static RegularFile open(const std::string& path);
  // Of a descriptor, which it takes over; `path` is what errors call the file. Error: not a regular file.
  RegularFile(int fd, std::string path);
  ~RegularFile();
  RegularFile(RegularFile&& other) noexcept;
  RegularFile& operator=(RegularFile&&) = delete;

  int fd() const { return fd_; }
  const std::string& path() const { return path_; }
  size_t size() const { return static_cast<size_t>(stamp_.size); }
  const FileStamp& stamp() const { return stamp_; }  // when it was opened
  // Reads `bytes` bytes from the front. Error: the file has fewer by now.
  void read(char* out, size_t bytes) const;
  // The whole file. Error: it has more than `limit` bytes.
  std::string read_all(size_t limit) const;

 private:
  int fd_;
  std::string path_;
  FileStamp stamp_;
};

FileStamp stamp_of(const struct stat& info);

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
  explicit MappedFile(const std::string& path, Access access = Access::kMap)
      : MappedFile(RegularFile::open(path), access) {}
  MappedFile(const RegularFile& file, Access access);
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
