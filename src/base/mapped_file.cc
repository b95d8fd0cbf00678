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

struct OpenFile {
  int fd;
  size_t size;
  ~OpenFile() { close(fd); }
};

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
  return {fd, static_cast<size_t>(info.st_size)};
}

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const OpenFile file = open_regular(path);
  if (file.size == 0) fail("{}: the file is empty", printable(path, 300));
  void* address = mmap(nullptr, file.size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (address == MAP_FAILED)
    fail("{}: cannot map {} bytes: {}", printable(path, 300), file.size, std::strerror(errno));
  bytes_ = {static_cast<const std::byte*>(address), file.size};
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::release(size_t offset, size_t size) const {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t begin = (offset + page - 1) / page * page;
  const size_t end = (offset + size) / page * page;
  if (begin < end) madvise(const_cast<std::byte*>(bytes_.data()) + begin, end - begin, MADV_DONTNEED);
}

std::string read_file(const std::string& path, size_t limit) {
  const OpenFile file = open_regular(path);
  if (file.size > limit) fail("{}: {} bytes; at most {} can be read", printable(path, 300), file.size, limit);
  std::string text(file.size, '\0');
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = read(file.fd, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("{}: {}", printable(path, 300), std::strerror(errno));
    if (n == 0) fail("{}: the file shrank while it was read", printable(path, 300));
    done += static_cast<size_t>(n);
  }
  return text;
}

}  // namespace chorus
