#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace chorus {

// A file that appears whole or not at all: bytes go to a new file beside `path` (its name ends in ".tmp"),
// and commit() syncs it, renames it over `path` and syncs the directory. Until then an old file of that name
// stays as it was. A full disk, a crash or an exception before commit() costs nothing but the attempt. Errors
// name `path`.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();  // removes the temporary file unless it was committed
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  void commit();  // once, as the last call

 private:
  void flush();
  void write_through(std::span<const std::byte> bytes);
  [[noreturn]] void fail_with(int error_number, std::string_view action) const;

  std::string path_;
  std::string temporary_path_;
  std::string buffer_;  // small writes, until they are worth a system call
  int fd_ = -1;
  bool renamed_ = false;
};

// Renames a file or directory that has been synced, so that a crash does not undo it. Errors name `to`.
void rename_durably(const std::string& from, const std::string& to);

// Removes what attempts at `path` have left that SIGKILL or a crash cut off. Only where nobody else writes
// it.
void remove_unfinished(const std::string& path);

}  // namespace chorus
