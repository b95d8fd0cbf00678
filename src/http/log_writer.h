#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace chorus {

// Writes lines to a file descriptor on a thread of its own, so that a slow reader of the log stops nobody.
// What does not fit into the bounded buffer is dropped and counted in a line of its own.
class LogWriter {
 public:
  explicit LogWriter(int descriptor);  // stays the caller's
  ~LogWriter();                        // writes what is left

  void line(std::string_view text);  // without the newline; any thread

 private:
  void run(const std::stop_token& stop);

  int descriptor_;
  std::mutex mutex_;
  std::condition_variable_any ready_;
  std::string waiting_;
  uint64_t dropped_ = 0;
  std::jthread thread_;
};

}  // namespace chorus
