#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "base/error.h"

namespace chorus {

// A file that is only in memory and can be opened by its path while the object lives: for tests and fuzz
// targets, which read thousands of them. Error: the system has no memory for it.
class MemoryFile {
 public:
  MemoryFile() = default;
  ~MemoryFile() { close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  const std::string& path() const { return path_; }
  void write(std::string_view bytes) const {
    if (ftruncate(fd_, static_cast<off_t>(bytes.size())) != 0 ||
        pwrite(fd_, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
      fail("{}: {}", path_, std::strerror(errno));
  }

 private:
  int fd_ = memfd_create("chorus", MFD_CLOEXEC);
  std::string path_ = fmt::format("/proc/self/fd/{}", fd_);
};

}  // namespace chorus
