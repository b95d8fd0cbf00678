#include "server/work_queue.h"

#include <boost/asio/post.hpp>
#include <utility>

namespace chorus {

WorkQueue::WorkQueue(int threads, int max_waiting)
    : max_waiting_(max_waiting), pool_(static_cast<size_t>(threads)) {}

void WorkQueue::join() { pool_.join(); }

bool WorkQueue::post(std::function<void()> work) {
  if (waiting_.load(std::memory_order_relaxed) >= max_waiting_) return false;
  resume(std::move(work));
  return true;
}

void WorkQueue::resume(std::function<void()> work) {
  waiting_.fetch_add(1, std::memory_order_relaxed);
  boost::asio::post(pool_, [this, work = std::move(work)] {
    waiting_.fetch_sub(1, std::memory_order_relaxed);
    work();
  });
}

}  // namespace chorus
