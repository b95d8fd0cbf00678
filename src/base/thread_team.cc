#include "base/thread_team.h"

#include <sched.h>
#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <cassert>
#include <charconv>
#include <fstream>
#include <set>
#include <span>
#include <string>
#include <utility>

#include "base/error.h"

namespace chorus {
namespace {

constexpr int kSpins = 2000;  // about the length of a short operator, before yielding to other processes
constexpr std::chrono::milliseconds kIdleSpin{1};  // between two steps, before sleeping

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

using Clock = ActiveMembers::Clock;

// A thread's time, to be compared with a later one of the same thread.
struct ThreadTime {
  Clock::time_point wall;
  Clock::duration cpu;
  long preemptions;
};

// The clock is exact where getrusage's times lag by up to a tick of the scheduler, more than most runs take.
ThreadTime thread_time() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  timespec cpu{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
  return {Clock::now(), std::chrono::seconds(cpu.tv_sec) + std::chrono::nanoseconds(cpu.tv_nsec),
          usage.ru_nivcsw};
}

// How long the thread could have run and did not. Waiting for a file is not that.
Clock::duration kept_from_running(const ThreadTime& start, const ThreadTime& end) {
  if (start.preemptions == end.preemptions) return {};
  return std::max<Clock::duration>((end.wall - start.wall) - (end.cpu - start.cpu), {});
}

// The process's place among the cgroups of version 2, as "/a/b".
std::string own_cgroup() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("0::/")) return line.substr(3);
  }
  return "";
}

}  // namespace

void TeamMember::barrier() {
  const int loops = std::exchange(loop_, 0);  // the same for every member
  const auto restart_loops = [&] {
    for (int i = 0; i < loops; ++i) team_->loops_[i].next.store(0, std::memory_order_relaxed);
  };
  if (count_ == 1) return restart_loops();
  const uint32_t phase = team_->phase_.load(std::memory_order_relaxed);
  if (team_->arrived_.fetch_add(1, std::memory_order_acq_rel) == count_ - 1) {
    // The last to arrive: nobody else is in a loop now, so the counters can start over.
    restart_loops();
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

ThreadTeam::ThreadTeam(int threads, std::vector<int> cpus)
    : cpus_(std::move(cpus)),
      size_(threads != 0    ? threads
            : cpus_.empty() ? physical_cores()
                            : static_cast<int>(cpus_.size())),
      workers_(static_cast<size_t>(size_)),
      active_(size_) {
  assert(size_ >= 1 && size_ <= 256);
  for (int i = 1; i < size_; ++i) {
    workers_[static_cast<size_t>(i)].thread = std::thread([this, i] { work(i); });
  }
}

ThreadTeam::~ThreadTeam() {
  stopping_ = true;
  for (Worker& worker : workers_) {
    if (!worker.thread.joinable()) continue;
    worker.runs.fetch_add(1, std::memory_order_release);
    worker.runs.notify_one();
    worker.thread.join();
  }
}

// May fail if the process has lost that CPU since: then the thread runs wherever it may.
void ThreadTeam::pin(int index) const {
  if (cpus_.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpus_[static_cast<size_t>(index) % cpus_.size()]), &set);
  sched_setaffinity(0, sizeof set, &set);
}

void ThreadTeam::run(const std::function<void(TeamMember&)>& f) {
  if (caller_ != std::this_thread::get_id()) {
    caller_ = std::this_thread::get_id();
    pin(0);
  }
  const Clock::time_point start = Clock::now();
  task_ = &f;
  members_ = active_.count();
  signals_.store(0, std::memory_order_relaxed);
  const std::span<Worker> members = std::span(workers_).first(static_cast<size_t>(members_));
  for (Worker& worker : members.subspan(1)) {
    worker.runs.fetch_add(1, std::memory_order_release);
    worker.runs.notify_one();
  }
  take_part(0);
  const Clock::time_point end = Clock::now();
  Clock::duration lost{};
  for (const Worker& worker : members) lost = std::max(lost, worker.lost);
  active_.ran(end, end - start, lost);
}

// This thread's part of a run; returns when all are done.
void ThreadTeam::take_part(int index) {
  const ThreadTime start = thread_time();
  TeamMember member(this, index, members_);
  (*task_)(member);
  workers_[static_cast<size_t>(index)].lost = kept_from_running(start, thread_time());
  member.barrier();
}

void ThreadTeam::work(int index) {
  pin(index);
  const std::atomic<uint32_t>& runs = workers_[static_cast<size_t>(index)].runs;
  for (uint32_t seen = 0;; ++seen) {
    const auto called = [&] { return runs.load(std::memory_order_acquire) != seen; };
    for (const auto end = Clock::now() + kIdleSpin; !called() && Clock::now() < end;) relax();
    runs.wait(seen, std::memory_order_acquire);
    if (stopping_) return;
    take_part(index);
  }
}

std::vector<int> parse_cpus(const std::string& text) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  sched_getaffinity(0, sizeof allowed, &allowed);
  std::vector<int> cpus;
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto number = [&] {
    int value = 0;
    const auto [next, error] = std::from_chars(at, end, value);
    if (error != std::errc() || value < 0 || value >= CPU_SETSIZE || next == at)
      fail("\"{}\" is no list of CPUs like 0-3,6", printable(text));
    at = next;
    return value;
  };
  const auto skip = [&](char c) { return at < end && *at == c && ++at; };
  do {
    const int first = number(), last = skip('-') ? number() : first;
    if (last < first) fail("\"{}\": {}-{} runs backwards", printable(text), first, last);
    for (int cpu = first; cpu <= last; ++cpu) {
      if (!CPU_ISSET(static_cast<size_t>(cpu), &allowed))
        fail("\"{}\": this process may not run on CPU {}", printable(text), cpu);
      if (std::ranges::find(cpus, cpu) != cpus.end()) fail("\"{}\" names CPU {} twice", printable(text), cpu);
      cpus.push_back(cpu);
    }
  } while (skip(','));
  if (at != end || cpus.size() > 256)
    fail("\"{}\" is no list of at most 256 CPUs like 0-3,6", printable(text));
  return cpus;
}

int cgroup_cpus(const std::string& root, std::string group) {
  int64_t least = 0;
  for (;; group.resize(group.find_last_of('/'))) {
    while (!group.empty() && group.back() == '/') group.pop_back();
    std::ifstream file(root + group + "/cpu.max");
    int64_t quota = 0, period = 0;  // in microseconds; a quota of "max" is no number
    if (file >> quota >> period && quota > 0 && period > 0) {
      const int64_t cpus = std::max<int64_t>(quota / period, 1);
      least = least == 0 ? cpus : std::min(least, cpus);
    }
    if (group.find('/') == std::string::npos) return static_cast<int>(std::min<int64_t>(least, 1 << 16));
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
  const int limit = cgroup_cpus("/sys/fs/cgroup", own_cgroup());
  const auto count = static_cast<int>(cores.size());
  return std::clamp(limit > 0 ? std::min(limit, count) : count, 1, 256);
}

}  // namespace chorus
