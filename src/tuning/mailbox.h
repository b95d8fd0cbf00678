#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>

namespace chorus {

// Work that threads leave for one thread to do. Who leaves it holds the lock for a few instructions and
// shares it with nobody but that thread.
class Mailbox {
 public:
  // Dropped after close().
  void post(std::function<void()> work) {
    {
      const std::lock_guard lock(mutex_);
      if (closed_) return;
      work_.push_back(std::move(work));
    }
    arrived_.notify_one();
  }
  // The next, when it is there; null: it was closed, and all that was left before has been taken.
  std::function<void()> take() {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [this] { return closed_ || !work_.empty(); });
    if (work_.empty()) return nullptr;
    std::function<void()> next = std::move(work_.front());
    work_.pop_front();
    return next;
  }
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    arrived_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::function<void()>> work_;
  bool closed_ = false;
};

}  // namespace chorus
