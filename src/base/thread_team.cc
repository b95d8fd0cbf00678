#include "base/thread_team.h"

#include <sched.h>

#include <algorithm>
#include <cassert>
#include <fstream>
#include <set>
#include <string>

namespace chorus {
namespace {

constexpr int kSpins = 2000;  // about the length of a short operator, before yielding to other processes
constexpr int kIdleSpins = 20'000;  // between two steps, before sleeping

void relax() { __builtin_ia32_pause(); }

// Spins, then yields, until done().
template <typename F>
void spin_until(F&& done) {
  for (int spins = 0; !done(); ++spins) {
    if (spins < kSpins) {
      relax();
    } else {
      sched_yield();
    }
  }
}

}  // namespace

void TeamMember::barrier() {
  loop_ = 0;
  if (count_ == 1) {
    for (auto& loop : team_->loops_) loop.next.store(0, std::memory_order_relaxed);
    return;
  }
  const uint32_t phase = team_->phase_.load(std::memory_order_relaxed);
  if (team_->arrived_.fetch_add(1, std::memory_order_acq_rel) == count_ - 1) {
    // The last to arrive: nobody else is in a loop now, so the counters can start over.
    for (auto& loop : team_->loops_) loop.next.store(0, std::memory_order_relaxed);
    team_->arrived_.store(0, std::memory_order_relaxed);
    team_->phase_.store(phase + 1, std::memory_order_release);
    return;
  }
  spin_until([&] { return team_->phase_.load(std::memory_order_acquire) != phase; });
}

void TeamMember::signal() {
  ++signals_;
  team_->signals_.fetch_add(1, std::memory_order_release);
}

// Nobody signals twice without having waited in between, so this many have come only if all have.
void TeamMember::await_signals() {
  const int64_t all = signals_ * count_;
  spin_until([&] { return team_->signals_.load(std::memory_order_acquire) >= all; });
}

TeamMember::Range TeamMember::share(int64_t n, int64_t grain) const {
  const int64_t grains = (n + grain - 1) / grain;
  const int64_t begin = grains * index_ / count_ * grain;
  const int64_t end = grains * (index_ + 1) / count_ * grain;
  return {std::min(begin, n), std::min(end, n)};
}

std::atomic<int64_t>& TeamMember::loop_counter() {
  assert(loop_ < kMaxLoops);
  return team_->loops_[loop_++].next;
}

ThreadTeam::ThreadTeam(int threads) : size_(threads == 0 ? physical_cores() : threads) {
  assert(size_ >= 1 && size_ <= 256);
  for (int i = 1; i < size_; ++i) threads_.emplace_back([this, i] { work(i); });
}

ThreadTeam::~ThreadTeam() {
  stopping_ = true;
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadTeam::run(const std::function<void(TeamMember&)>& f) {
  task_ = &f;
  signals_.store(0, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  TeamMember member(this, 0, size_);
  f(member);
  member.barrier();
}

void ThreadTeam::work(int index) {
  uint32_t seen = 0;
  for (;;) {
    for (int spins = 0; spins < kIdleSpins && generation_.load(std::memory_order_acquire) == seen; ++spins)
      relax();
    generation_.wait(seen, std::memory_order_acquire);
    ++seen;
    if (stopping_) return;
    TeamMember member(this, index, size_);
    (*task_)(member);
    member.barrier();
  }
}

int physical_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
  std::set<std::string> cores;  // the sibling list names a core the same way on each of its hardware threads
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                       "/topology/thread_siblings_list");
    std::string siblings;
    if (!std::getline(file, siblings)) siblings = std::to_string(cpu);
    cores.insert(siblings);
  }
  return std::clamp(static_cast<int>(cores.size()), 1, 256);
}

}  // namespace chorus
