#include "tuning/directory_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/error.h"

namespace chorus {

DirectoryLock::DirectoryLock(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  const std::string path = directory + "/lock";
  fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd_ < 0) fail("{}: cannot be written to: {}", printable(directory, 300), std::strerror(errno));
  if (flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
  close(fd_);
  fail("{}: another server keeps its jobs there; a directory of its own would be right",
       printable(directory, 300));
}

DirectoryLock::~DirectoryLock() { close(fd_); }

}  // namespace chorus
