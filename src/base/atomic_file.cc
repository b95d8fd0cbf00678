#include "base/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <random>
#include <utility>
#include <vector>

#include "base/error.h"

namespace chorus {
namespace {

constexpr size_t kBufferBytes = 1u << 20;

std::string directory_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

[[noreturn]] void fail_on(const std::string& path, std::string_view action, int error_number) {
  fail("{}: {}: {}", printable(path, 300), action, std::strerror(error_number));
}

}  // namespace

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  // A fresh name for each attempt, so that two writers of one path never share a temporary file. O_EXCL also
  // refuses a symbolic link that waits under that name.
  std::random_device random;
  do {
    temporary_path_ = fmt::format("{}.{:08x}.tmp", path_, random());
    fd_ = open(temporary_path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (fd_ < 0 && (errno == EEXIST || errno == EINTR));
  if (fd_ < 0) fail_with(errno, "cannot create a file beside it");
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) close(fd_);
  if (!temporary_path_.empty() && !renamed_) unlink(temporary_path_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (bytes.size() >= kBufferBytes) {
    flush();
    write_through(bytes);
    return;
  }
  buffer_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (buffer_.size() >= kBufferBytes) flush();
}

void AtomicFile::commit() {
  flush();
  if (fsync(fd_) != 0) fail_with(errno, "cannot sync");
  if (close(std::exchange(fd_, -1)) != 0) fail_with(errno, "cannot close");
  rename_durably(temporary_path_, path_);
  renamed_ = true;
}

void AtomicFile::flush() {
  write_through(std::as_bytes(std::span(buffer_)));
  buffer_.clear();
}

void AtomicFile::write_through(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_with(errno, "cannot write");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

void AtomicFile::fail_with(int error_number, std::string_view action) const {
  fail_on(path_, action, error_number);
}

void rename_durably(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) != 0) fail_on(to, "cannot rename into place", errno);
  // The rename itself lives in the directory; without this a power cut may undo it.
  const int directory = open(directory_of(to).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) fail_on(to, "cannot open its directory", errno);
  const int result = fsync(directory);
  const int error_number = errno;
  close(directory);
  if (result != 0) fail_on(to, "cannot sync its directory", error_number);
}

void remove_unfinished(const std::string& path) {
  const std::filesystem::path whole(path);
  const std::filesystem::path folder = whole.has_parent_path() ? whole.parent_path() : ".";
  const std::string begin = whole.filename().string() + ".";
  std::error_code error;
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(begin) && name.ends_with(".tmp")) found.push_back(entry.path());
  }
  for (const std::filesystem::path& file : found) std::filesystem::remove(file, error);
}

}  // namespace chorus
