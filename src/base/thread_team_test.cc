#include "base/thread_team.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <thread>

#include "base/error.h"

namespace chorus {
namespace {

TEST(ThreadTeam, BarrierOrdersPhases) {
  for (const int threads : {1, 2, 4, 7}) {
    ThreadTeam team(threads);
    std::vector<int> values(static_cast<size_t>(threads), 0);
    std::atomic<int> wrong{0};
    for (int run = 0; run < 50; ++run) {
      team.run([&](TeamMember& member) {
        for (int phase = 1; phase <= 20; ++phase) {
          values[static_cast<size_t>(member.index())] = phase;
          member.barrier();
          for (int i = 0; i < member.count(); ++i) wrong += values[static_cast<size_t>(i)] != phase;
          member.barrier();
        }
      });
    }
    EXPECT_EQ(wrong, 0);
  }
}

TEST(ThreadTeam, SharesCoverTheRangeOnce) {
  ThreadTeam team(3);
  for (const int64_t n : {0, 1, 5, 16, 100}) {
    for (const int64_t grain : {1, 16}) {
      std::vector<std::atomic<int>> hits(static_cast<size_t>(n));
      team.run([&](TeamMember& member) {
        const auto [begin, end] = member.share(n, grain);
        for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
        if (begin < n) {
          EXPECT_EQ(begin % grain, 0);
        }
      });
      for (const auto& hit : hits) EXPECT_EQ(hit, 1);
    }
  }
}

TEST(ThreadTeam, EveryChunkRunsOnce) {
  ThreadTeam team(4);
  std::vector<std::atomic<int>> hits(1000);
  for (int run = 0; run < 20; ++run) {
    team.run([&](TeamMember& member) {
      for (int loop = 0; loop < 5; ++loop) {
        member.for_chunks(1000, [&](int64_t i) { ++hits[static_cast<size_t>(i)]; });
        member.for_chunks(10, [&](int64_t i) { ++hits[static_cast<size_t>(i)]; });
        member.barrier();
      }
    });
  }
  for (size_t i = 0; i < hits.size(); ++i) EXPECT_EQ(hits[i], i < 10 ? 200 : 100);
}

TEST(ThreadTeam, ASignalShowsWhatWasWrittenBefore) {
  for (const int threads : {1, 2, 4}) {
    ThreadTeam team(threads);
    std::vector<int> written(static_cast<size_t>(threads));
    for (int run = 0; run < 50; ++run) {
      std::atomic<int> wrong = 0;
      team.run([&](TeamMember& member) {
        for (int round = 1; round <= 20; ++round) {
          written[static_cast<size_t>(member.index())] = round;
          member.signal();
          member.for_chunks(3, [](int64_t) {});
          member.await_signals();
          for (int i = 0; i < member.count(); ++i) wrong += written[static_cast<size_t>(i)] != round;
          member.barrier();
        }
      });
      EXPECT_EQ(wrong, 0);
    }
  }
}

TEST(ThreadTeam, SleepsBetweenRuns) {
  ThreadTeam team(4);
  team.run([](TeamMember& member) { member.barrier(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // time to fall asleep
  const std::clock_t before = std::clock();                    // of all threads of the process
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC, 0.004);
}

TEST(ThreadTeam, RunsWhereItIsBound) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  int last = CPU_SETSIZE - 1;
  while (!CPU_ISSET(static_cast<size_t>(last), &before)) --last;
  std::atomic<int> wrong{0};
  {
    ThreadTeam team(3, parse_cpus(std::to_string(last)));
    team.run([&](TeamMember&) { wrong += sched_getcpu() != last; });
    EXPECT_EQ(ThreadTeam(0, {last}).size(), 1);
  }
  sched_setaffinity(0, sizeof before, &before);
  EXPECT_EQ(wrong, 0);
}

TEST(ParseCpus, RefusesWhatIsNoListOfThem) {
  for (const char* text :
       {"", "a", "-1", "0-", "0,", ",0", "0,0", "0-0,0", "1-0", "0 ", "0x", "1023", "99999999999"})
    EXPECT_THROW(parse_cpus(text), Error) << text;
}

TEST(PhysicalCores, ObeyTheCgroupsAbove) {
  const std::string root = testing::TempDir() + "/cgroups";
  std::filesystem::create_directories(root + "/a/b");
  const auto limit = [&](const std::string& group, const char* text) {
    std::ofstream(root + group + "/cpu.max") << text;
  };
  EXPECT_EQ(cgroup_cpus(root, "/a/b"), 0);
  limit("/a/b", "max 100000\n");
  EXPECT_EQ(cgroup_cpus(root, "/a/b"), 0);
  limit("/a", "250000 100000\n");
  EXPECT_EQ(cgroup_cpus(root, "/a/b"), 2);
  EXPECT_EQ(cgroup_cpus(root, "/"), 0);
  limit("", "50000 100000\n");
  EXPECT_EQ(cgroup_cpus(root, "/a/b"), 1);
  EXPECT_EQ(cgroup_cpus(root, ""), 1);
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace chorus
