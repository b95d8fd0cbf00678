#include <atomic>

#include "engine/adapter_manager_harness.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

// A budget for two of three.
class BudgetTest : public ManagerTest {
 protected:
  BudgetTest() {
    for (const std::string name : {".a", ".b", ".c"}) put("all_linear", name);
    AdapterRegistry sizes(config_, {"base"});
    sizes.load("x", golden("adapters/all_linear"));
    bytes_ = sizes.infos()[0].bytes;
    options_.memory_bytes = 2 * bytes_ + bytes_ / 2;
  }
  std::string resident() {
    std::string names;
    for (const AdapterStatus& adapter : manager_->list()) {
      if (adapter.residency == Residency::kReady) names += adapter.name;
    }
    EXPECT_LE(manager_->resident_bytes(), manager_->memory_bytes());
    return names;
  }
  size_t bytes_ = 0;
};

TEST_F(BudgetTest, TheOneUsedLongestAgoLeaves) {
  start();
  for (const std::string name : {"a", "b"}) ASSERT_EQ(load(name, "." + name).message, "");
  acquire("a");
  EXPECT_EQ(load("c", ".c").message, "");
  EXPECT_EQ(resident(), "ac");
  EXPECT_EQ(status("b").residency, Residency::kOnDisk);
  EXPECT_EQ(status("b").bytes, 0u);
  EXPECT_EQ(acquire("b").selection.uses.size(), 1u);
  EXPECT_EQ(resident(), "bc");
  EXPECT_EQ(acquire("a+b").selection.uses.size(), 2u);
  EXPECT_EQ(resident(), "ab");
  EXPECT_EQ(acquire("a+b+c").outcome.problem, AdapterProblem::kNoMemory);
  EXPECT_EQ(acquire("c").outcome.message, "") << "nothing is held by the mix that failed";
}

TEST_F(BudgetTest, WhatIsInUseOrPinnedStays) {
  start();
  ASSERT_EQ(load("a", ".a", false, true).message, "");
  ASSERT_EQ(load("b", ".b").message, "");
  Acquired user = acquire("b");
  const AdapterOutcome outcome = load("c", ".c");
  EXPECT_EQ(outcome.problem, AdapterProblem::kNoMemory);
  EXPECT_NE(outcome.message.find("in use or pinned"), std::string::npos) << outcome.message;
  EXPECT_FALSE(manager_->find("c"));
  user = {};
  EXPECT_EQ(load("c", ".c").message, "");
  EXPECT_EQ(resident(), "ac");
  acquire("a");
  manager_->pin("a", false);
  acquire("c");
  EXPECT_EQ(acquire("b").outcome.message, "");
  EXPECT_EQ(resident(), "bc");
  manager_->pin("a", true);
  EXPECT_TRUE(eventually([&] { return status("a").residency == Residency::kReady; }));
}

TEST_F(BudgetTest, AReplacedVersionCountsWhileItIsUsed) {
  options_.memory_bytes = bytes_;
  put("rslora", ".d");
  start();
  ASSERT_EQ(load("a", ".a").message, "");
  ASSERT_EQ(load("a", ".d", true).message, "") << "the old version makes room for the new";
  const std::string id = status("a").id;
  Acquired user = acquire("a");
  EXPECT_EQ(load("a", ".a", true).problem, AdapterProblem::kNoMemory);
  EXPECT_EQ(status("a").id, id);
  user = {};
  EXPECT_EQ(load("a", ".a", true).message, "");
  EXPECT_NE(status("a").id, id);
}

TEST_F(BudgetTest, FilesMayChangeWhileOnDisk) {
  options_.memory_bytes = bytes_;
  start();
  ASSERT_EQ(load("a", ".a").message, "");
  ASSERT_EQ(load("b", ".b").message, "");
  const std::string id = status("a").id;
  fs::remove_all(directory_ / ".a");
  const AdapterOutcome gone = acquire("a").outcome;
  EXPECT_EQ(gone.problem, AdapterProblem::kNotFound);
  EXPECT_EQ(gone.message, ".a: no such file or directory");
  put("qv", ".a");
  EXPECT_EQ(acquire("a").outcome.message, "");
  EXPECT_NE(status("a").id, id);
}

TEST_F(BudgetTest, AFlagsPathIsNotTold) {
  fs::create_directory(directory_ / ".flag");
  put("all_linear", ".flag/x");
  registry_.load("x", directory_ / ".flag/x");
  options_.memory_bytes = bytes_;
  start();
  manager_->pin("x", false);
  ASSERT_EQ(load("a", ".a").message, "");
  EXPECT_EQ(status("x").residency, Residency::kOnDisk);
  EXPECT_EQ(acquire("x").outcome.message, "") << "its path is the operator's, wherever it leads";
  acquire("a");
  fs::remove(directory_ / ".flag/x/adapter_model.safetensors");
  const std::string message = acquire("x").outcome.message;
  EXPECT_NE(message.find("adapter_model.safetensors"), std::string::npos) << message;
  EXPECT_EQ(message.find(directory_.string()), std::string::npos) << message;
}

// Loads, unloads, reloads and requests at once, under a budget that holds half of it.
TEST_F(BudgetTest, ManyThreads) {
  for (const std::string name : {"w1", "w2"}) put("qv", name);
  start();
  constexpr int kRounds = 40;
  std::atomic<int> answers = 0, asked = 0, good = 0;
  const auto count = [&](const AdapterOutcome& outcome) {
    ++answers;
    if (outcome.problem == AdapterProblem::kNone) ++good;
  };
  const auto churn = [&](int t) {
    const std::string name(1, static_cast<char>('a' + t % 3));
    for (int i = 0; i < kRounds; ++i) {
      asked += 3;
      manager_->load(name, "." + name, i % 2 == 0, false, count);
      manager_->acquire(parse_mix(i % 3 == 0 ? "w1+" + name : name),
                        [&](const AdapterOutcome& outcome, AdapterSelection selection) {
                          count(outcome);
                          for (const AdapterUse& use : selection.uses)
                            EXPECT_EQ(use.adapter->id().size(), 64u);
                        });
      if (i % 5 == 4) {
        manager_->unload(name, i % 2 == 0, count);
      } else {
        manager_->validate("." + name, [&](const AdapterOutcome& o, const AdapterStatus&) { count(o); });
      }
      manager_->list();
      if (t == 0 && i % 10 == 0) put(i % 20 == 0 ? "qv" : "ranks", "w2");
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) threads.emplace_back(churn, t);
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(eventually([&] { return answers == asked; }));
  EXPECT_GT(good, kRounds);
  EXPECT_LE(manager_->resident_bytes(), manager_->memory_bytes());
  for (const AdapterStatus& adapter : manager_->list()) EXPECT_EQ(adapter.users, 0) << adapter.name;
}

}  // namespace
}  // namespace chorus
