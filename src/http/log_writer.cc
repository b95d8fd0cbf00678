#include "http/log_writer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

namespace chorus {

namespace {

constexpr size_t kMaxWaiting = size_t{4} << 20;

void write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;  // nobody is left to tell
    text.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace

LogWriter::LogWriter(int descriptor)
    : descriptor_(descriptor), thread_([this](const std::stop_token& stop) { run(stop); }) {}

LogWriter::~LogWriter() = default;

void LogWriter::line(std::string_view text) {
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() + text.size() > kMaxWaiting) {
      ++dropped_;
      return;
    }
    waiting_.append(text).append("\n");
  }
  ready_.notify_one();
}

void LogWriter::run(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (true) {
    ready_.wait(lock, stop, [this] { return !waiting_.empty(); });
    if (waiting_.empty()) return;
    std::string text;
    text.swap(waiting_);
    if (dropped_ > 0) text += fmt::format("{{\"dropped_log_lines\":{}}}\n", dropped_);
    dropped_ = 0;
    lock.unlock();
    write_all(descriptor_, text);
    lock.lock();
  }
}

}  // namespace chorus
