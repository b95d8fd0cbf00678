#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <functional>

namespace chorus {

// Threads for what takes too long for an I/O thread: JSON, templates, tokens, grammars. Bounded, so that a
// flood of requests is turned away instead of kept.
class WorkQueue {
 public:
  WorkQueue(int threads, int max_waiting);
  // Does what was posted and ends the threads; what comes later is dropped.
  void join();

  // False: as much is waiting as may. `work` must not throw.
  bool post(std::function<void()> work);
  // As post, for work that has been let in before.
  void resume(std::function<void()> work);

 private:
  const int max_waiting_;
  std::atomic<int> waiting_{0};
  boost::asio::thread_pool pool_;
};

}  // namespace chorus
