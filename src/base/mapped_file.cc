#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace chorus {
namespace {

constexpr size_t kMaxCopy = size_t{2} << 30;

int64_t nanoseconds(const timespec& time) { return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

}  // namespace

FileStamp stamp_of(const struct stat& info) {
  return {info.st_dev, info.st_ino, static_cast<uint64_t>(info.st_size), nanoseconds(info.st_mtim),
          nanoseconds(info.st_ctim)};
}

// O_NONBLOCK so that a FIFO cannot hold us; it has no meaning for the regular files that pass the check.
RegularFile RegularFile::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail("{}: {}", printable(path, 300), std::strerror(errno));
  return {fd, path};
}

RegularFile::RegularFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {
  struct stat info {};
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(fd);
    fail("{}: not a regular file", printable(path_, 300));
  }
  stamp_ = stamp_of(info);
}

RegularFile::RegularFile(RegularFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)), stamp_(other.stamp_) {}

RegularFile::~RegularFile() {
  if (fd_ >= 0) close(fd_);
}

void RegularFile::read(char* out, size_t bytes) const {
  size_t done = 0;
  while (done < bytes) {
    const ssize_t n = pread(fd_, out + done, bytes - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("{}: {}", printable(path_, 300), std::strerror(errno));
    if (n == 0) fail("{}: the file shrank while it was read", printable(path_, 300));
    done += static_cast<size_t>(n);
  }
}

std::string RegularFile::read_all(size_t limit) const {
  if (size() > limit) fail("{}: {} bytes; at most {} can be read", printable(path_, 300), size(), limit);
  std::string text(size(), '\0');
  read(text.data(), text.size());
  return text;
}

MappedFile::MappedFile(const RegularFile& file, Access access)
    : path_(file.path()), stamp_(file.stamp()), access_(access) {
  const size_t size = file.size();
  if (size == 0) fail("{}: the file is empty", printable(path_, 300));
  const bool copy = access == Access::kCopy;
  if (copy && size > kMaxCopy) {
    fail("{}: {} bytes; at most {} can be loaded", printable(path_, 300), size, kMaxCopy);
  }
  void* address = copy ? mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                       : mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd(), 0);
  if (address == MAP_FAILED) {
    fail("{}: cannot map {} bytes: {}", printable(path_, 300), size, std::strerror(errno));
  }
  bytes_ = {static_cast<const std::byte*>(address), size};
  if (!copy) return;
  try {
    file.read(static_cast<char*>(address), size);
  } catch (...) {
    munmap(address, size);
    throw;
  }
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      bytes_(std::exchange(other.bytes_, {})),
      stamp_(other.stamp_),
      access_(other.access_) {}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::release(size_t offset, size_t size) const {
  if (access_ == Access::kCopy) return;
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t begin = (offset + page - 1) / page * page;
  const size_t end = (offset + size) / page * page;
  if (begin < end) madvise(const_cast<std::byte*>(bytes_.data()) + begin, end - begin, MADV_DONTNEED);
}

// Both are wishes: a system that cannot, or will not, goes on as before.
void MappedFile::read_ahead() const {
  if (access_ == Access::kCopy) return;
  void* begin = const_cast<std::byte*>(bytes_.data());
  madvise(begin, bytes_.size(), MADV_HUGEPAGE);
  madvise(begin, bytes_.size(), MADV_WILLNEED);
}

std::string read_file(const std::string& path, size_t limit) {
  return RegularFile::open(path).read_all(limit);
}

}  // namespace chorus
