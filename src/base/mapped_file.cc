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

struct OpenFile {
  int fd;
  size_t size;
  FileStamp stamp;
  ~OpenFile() { close(fd); }
};

int64_t nanoseconds(const timespec& time) { return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

// O_NONBLOCK so that a FIFO cannot hold us; it has no meaning for the regular files that pass the check.
OpenFile open_regular(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail("{}: {}", printable(path, 300), std::strerror(errno));
  struct stat info {};
  const bool known = fstat(fd, &info) == 0;
  if (!known || !S_ISREG(info.st_mode)) {
    close(fd);
    fail("{}: not a regular file", printable(path, 300));
  }
  return {fd,
          static_cast<size_t>(info.st_size),
          {info.st_dev, info.st_ino, static_cast<uint64_t>(info.st_size), nanoseconds(info.st_mtim),
           nanoseconds(info.st_ctim)}};
}

// Reads file.size bytes from the front.
void read_whole(const OpenFile& file, const std::string& path, char* out) {
  size_t done = 0;
  while (done < file.size) {
    const ssize_t n = read(file.fd, out + done, file.size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("{}: {}", printable(path, 300), std::strerror(errno));
    if (n == 0) fail("{}: the file shrank while it was read", printable(path, 300));
    done += static_cast<size_t>(n);
  }
}

}  // namespace

MappedFile::MappedFile(const std::string& path, Access access) : path_(path), access_(access) {
  const OpenFile file = open_regular(path);
  if (file.size == 0) fail("{}: the file is empty", printable(path, 300));
  const bool copy = access == Access::kCopy;
  if (copy && file.size > kMaxCopy) {
    fail("{}: {} bytes; at most {} can be loaded", printable(path, 300), file.size, kMaxCopy);
  }
  void* address = copy ? mmap(nullptr, file.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                       : mmap(nullptr, file.size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (address == MAP_FAILED) {
    fail("{}: cannot map {} bytes: {}", printable(path, 300), file.size, std::strerror(errno));
  }
  bytes_ = {static_cast<const std::byte*>(address), file.size};
  stamp_ = file.stamp;
  if (!copy) return;
  try {
    read_whole(file, path, static_cast<char*>(address));
  } catch (...) {
    munmap(address, file.size);
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
  const OpenFile file = open_regular(path);
  if (file.size > limit) fail("{}: {} bytes; at most {} can be read", printable(path, 300), file.size, limit);
  std::string text(file.size, '\0');
  read_whole(file, path, text.data());
  return text;
}

}  // namespace chorus
