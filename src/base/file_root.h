#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/mapped_file.h"

namespace chorus {

// What symbolic links below a directory may do.
enum class Links : uint8_t {
  kRefuse,  // none is followed
  kInside,  // followed while they stay in the directory; one to an absolute path never does
  kFollow   // they and ".." lead wherever they lead: for what the operator names
};

// Where files are opened by a path, and how far a path may lead. Errors hold the path as it was given.
class FileRoot {
 public:
  // Any path, absolute or from the working directory, through any links.
  FileRoot();
  // Paths that stay beneath `directory`, whatever "..", links and renames by others there are, unless links
  // are to be followed; the directory itself may be reached through links. Files must belong to this user, to
  // root or to the directory's owner. Error: it cannot be opened.
  FileRoot(const std::string& directory, Links links, size_t max_file_bytes = SIZE_MAX);
  ~FileRoot();
  FileRoot(FileRoot&& other) noexcept;
  FileRoot& operator=(FileRoot&&) = delete;

  // Errors: as RegularFile's; the path leads out; a file that is too large, or somebody
  // else's.
  RegularFile open(const std::string& path) const;
  // What is at a path; none: nothing, or nothing that may be reached.
  std::optional<struct stat> look(const std::string& path) const;
  bool is_directory(const std::string& path) const;
  bool is_missing(const std::string& path) const;  // nothing is there, as far as may be seen
  // Names in the directory itself but "." and "..", in no order; none: it has more than `limit`.
  std::optional<std::vector<std::string>> names(size_t limit) const;

  // For tests: does without the system call that the kernel may lack.
  void walk_by_hand() { by_hand_ = true; }

 private:
  int open_fd(const std::string& path, int flags) const;  // a descriptor, or -errno

  int fd_;
  Links links_ = Links::kFollow;
  size_t max_file_bytes_ = SIZE_MAX;
  uid_t owner_ = 0;  // of the directory
  bool by_hand_ = false;
};

}  // namespace chorus
