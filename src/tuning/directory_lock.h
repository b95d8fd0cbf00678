#pragma once

#include <string>

namespace chorus {

// A directory that is this process's as long as this lives, or as the process does.
class DirectoryLock {
 public:
  // Makes the directory. Error: it cannot be written to, or another process has it.
  explicit DirectoryLock(const std::string& directory);
  ~DirectoryLock();
  DirectoryLock(const DirectoryLock&) = delete;

 private:
  int fd_;
};

}  // namespace chorus
