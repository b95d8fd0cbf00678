#include "base/file_root.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <memory>
#include <utility>

#include "base/error.h"

namespace chorus {
namespace {

constexpr int kMaxLinks = 40;  // in one path, as the kernel's

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&&) = delete;
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// -ENOSYS where the kernel does not know the call, or a filter forbids it.
int open_beneath(int root, const std::string& path, int flags, Links links) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags);
  how.resolve =
      RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (links == Links::kRefuse ? RESOLVE_NO_SYMLINKS : 0u);
  for (int attempt = 0; attempt < 16; ++attempt) {  // EAGAIN: something was renamed on the way
    const long fd = syscall(SYS_openat2, root, path.c_str(), &how, sizeof how);
    if (fd >= 0) return static_cast<int>(fd);
    if (errno == EPERM) return -ENOSYS;
    if (errno != EAGAIN && errno != EINTR) return -errno;
  }
  return -EAGAIN;
}

// Puts a path's components before those that are left, the first one last.
void push_components(std::vector<std::string>& rest, std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (!part.empty() && part != ".") parts.emplace_back(part);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  rest.insert(rest.end(), std::make_move_iterator(parts.rbegin()), std::make_move_iterator(parts.rend()));
}

// The same, component by component. ".." goes back the way we came, so it cannot pass the root.
int walk_beneath(int root, const std::string& path, int flags, Links links) {
  if (path.empty()) return -ENOENT;
  if (path.front() == '/') return -EXDEV;
  std::vector<Fd> way;  // the directories gone through
  std::vector<std::string> rest;
  push_components(rest, path);
  int followed = 0;
  while (!rest.empty()) {
    const std::string name = std::move(rest.back());
    rest.pop_back();
    if (name == "..") {
      if (way.empty()) return -EXDEV;
      way.pop_back();
      continue;
    }
    const int at = way.empty() ? root : way.back().get();
    struct stat info {};
    if (fstatat(at, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return -errno;
    if (S_ISLNK(info.st_mode)) {
      char target[PATH_MAX];
      if (links == Links::kRefuse || ++followed > kMaxLinks) return -ELOOP;
      const ssize_t length = readlinkat(at, name.c_str(), target, sizeof target);
      if (length <= 0 || length == sizeof target) return length < 0 ? -errno : -ENAMETOOLONG;
      if (target[0] == '/') return -EXDEV;
      push_components(rest, {target, static_cast<size_t>(length)});
      continue;
    }
    if (rest.empty()) {
      const int fd = openat(at, name.c_str(), flags | O_NOFOLLOW);
      return fd < 0 ? -errno : fd;
    }
    const int fd = openat(at, name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return -errno;
    way.emplace_back(fd);
  }
  const int fd = openat(way.empty() ? root : way.back().get(), ".", flags);
  return fd < 0 ? -errno : fd;
}

const char* reason(int error) {
  if (error == ELOOP) return "symbolic links are not followed here";
  if (error == EXDEV) return "leads out of the directory";
  return std::strerror(error);
}

}  // namespace

FileRoot::FileRoot() : fd_(AT_FDCWD) {}

FileRoot::FileRoot(const std::string& directory, Links links, size_t max_file_bytes)
    : fd_(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)),
      links_(links),
      max_file_bytes_(max_file_bytes) {
  if (fd_ < 0) fail("{}: {}", printable(directory, 300), std::strerror(errno));
  struct stat info {};
  if (fstat(fd_, &info) == 0) owner_ = info.st_uid;
}

FileRoot::FileRoot(FileRoot&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      links_(other.links_),
      max_file_bytes_(other.max_file_bytes_),
      owner_(other.owner_),
      by_hand_(other.by_hand_) {}

FileRoot::~FileRoot() {
  if (fd_ >= 0) close(fd_);
}

int FileRoot::open_fd(const std::string& path, int flags) const {
  if (path.find('\0') != std::string::npos) return -ENOENT;
  if (links_ == Links::kFollow) {
    const int fd = openat(fd_, path.c_str(), flags);
    return fd < 0 ? -errno : fd;
  }
  const int fd = by_hand_ ? -ENOSYS : open_beneath(fd_, path, flags, links_);
  return fd == -ENOSYS ? walk_beneath(fd_, path, flags, links_) : fd;
}

RegularFile FileRoot::open(const std::string& path) const {
  const int fd = open_fd(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) fail("{}: {}", printable(path, 300), reason(-fd));
  RegularFile file(fd, path);
  struct stat info {};
  const bool known = fstat(fd, &info) == 0;
  const bool ours = known && (info.st_uid == 0 || info.st_uid == geteuid() || info.st_uid == owner_);
  if (links_ != Links::kFollow && !ours)
    fail("{}: its owner is neither this program's user nor the directory's", printable(path, 300));
  if (file.size() > max_file_bytes_) {
    fail("{}: {} bytes; at most {} can be loaded", printable(path, 300), file.size(), max_file_bytes_);
  }
  return file;
}

std::optional<struct stat> FileRoot::look(const std::string& path) const {
  const Fd fd(open_fd(path, O_PATH | O_CLOEXEC));
  struct stat info {};
  if (fd.get() < 0 || fstat(fd.get(), &info) != 0) return std::nullopt;
  return info;
}

bool FileRoot::is_directory(const std::string& path) const {
  const std::optional<struct stat> info = look(path);
  return info && S_ISDIR(info->st_mode);
}

bool FileRoot::is_missing(const std::string& path) const {
  const Fd fd(open_fd(path, O_PATH | O_CLOEXEC));
  return fd.get() == -ENOENT || fd.get() == -ENOTDIR;
}

std::optional<std::vector<std::string>> FileRoot::names(size_t limit) const {
  Fd fd(openat(fd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) fail("the directory cannot be read: {}", std::strerror(errno));
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(fdopendir(fd.get()), &closedir);
  if (directory == nullptr) fail("the directory cannot be read: {}", std::strerror(errno));
  fd.release();
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = readdir(directory.get());
    if (entry == nullptr && errno != 0) fail("the directory cannot be read: {}", std::strerror(errno));
    if (entry == nullptr) return names;
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (names.size() == limit) return std::nullopt;
    names.emplace_back(name);
  }
}

}  // namespace chorus
