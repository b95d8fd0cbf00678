#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/active_members.h"

namespace chorus {

class ThreadTeam;

// One thread's place in a team that runs the same function together (SPMD). All members make the same
// sequence of barrier() and for_chunks() calls. Not shared between threads.
class TeamMember {
 public:
  int index() const { return index_; }
  int count() const { return count_; }

  // Returns when every member has arrived; what each wrote before is then visible to all. Spins, then yields.
  void barrier();

  // A barrier in two halves, for work that fits between: signal() says that what this member wrote before is
  // ready, await_signals() returns when every member has said so. They alternate; barriers and loops may
  // stand anywhere around them.
  void signal();
  void await_signals();

  struct Range {
    int64_t begin, end;
  };
  // This member's fixed share of [0, n), in multiples of `grain` but for the last; empty for some if n is
  // small.
  Range share(int64_t n, int64_t grain = 1) const;

  // Calls f(chunk) for chunks 0..chunks-1, each on whichever member is free first. At most kMaxLoops such
  // loops may stand between two barriers. Does not wait for the others.
  template <typename F>
  void for_chunks(int64_t chunks, F&& f) {
    std::atomic<int64_t>& next = loop_counter();
    for (int64_t i = next.fetch_add(1, std::memory_order_relaxed); i < chunks;
         i = next.fetch_add(1, std::memory_order_relaxed)) {
      f(i);
    }
  }

  static constexpr int kMaxLoops = 32;

 private:
  friend class ThreadTeam;
  TeamMember(ThreadTeam* team, int index, int count) : team_(team), index_(index), count_(count) {}
  std::atomic<int64_t>& loop_counter();

  ThreadTeam* team_;
  int index_, count_;
  int loop_ = 0;         // loops since the last barrier
  int64_t signals_ = 0;  // given in this run
};

// Threads that run one function together again and again. Between runs they spin for a millisecond at most
// and then sleep. While other processes want the same cores, runs have fewer members (see ActiveMembers).
class ThreadTeam {
 public:
  // `threads` in 1..256 including the caller of run(); 0 means one per physical core, or one per CPU of
  // `cpus`. Where that is given (see parse_cpus), member i runs only on its entry i modulo its size, the
  // calling thread from its first run() on.
  explicit ThreadTeam(int threads = 0, std::vector<int> cpus = {});
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;

  int size() const { return size_; }  // the most members that a run can have

  // Runs f on every member, the calling thread being member 0, and returns when all are done. One run at a
  // time; f must not throw, and takes the number of members from its TeamMember.
  void run(const std::function<void(TeamMember&)>& f);

 private:
  friend class TeamMember;
  void work(int index);
  void take_part(int index);

  // Of one thread; the first is the caller's. On cache lines of their own, as all that follows: they are
  // written at different times by different threads.
  struct alignas(64) Worker {
    std::atomic<uint32_t> runs{0};          // it was called to; it sleeps on this
    ActiveMembers::Clock::duration lost{};  // in the last run, while it was kept from running
    std::thread thread;
  };

  void pin(int index) const;

  const std::vector<int> cpus_;
  const int size_;
  std::vector<Worker> workers_;
  std::thread::id caller_;  // of the last run, which is pinned
  ActiveMembers active_;
  const std::function<void(TeamMember&)>* task_ = nullptr;
  int members_ = 0;  // of this run
  bool stopping_ = false;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<uint32_t> phase_{0};   // counts barriers
  alignas(64) std::atomic<int64_t> signals_{0};  // of all members in this run
  struct alignas(64) Counter {
    std::atomic<int64_t> next{0};
  };
  Counter loops_[TeamMember::kMaxLoops];
};

// Physical cores this process may run on, but no more than the processor time its cgroup allows it, as for a
// container with 2 CPUs of a large host; at least 1.
int physical_cores();

// CPUs of a list like "0-3,6", in its order. Errors: not such a list; a CPU twice, or one that this process
// may not run on.
std::vector<int> parse_cpus(const std::string& text);

// Whole CPUs' worth of time that the cgroup (version 2) `group` under the mount point `root` allows, itself
// and those it lies in; 0: no limit. At least 1 otherwise.
int cgroup_cpus(const std::string& root, std::string group);

}  // namespace chorus
