#include "engine/adapter_manager.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "base/error.h"
#include "model/tensor_source.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

std::string golden(const std::string& path) {
  return std::string(CHORUS_SOURCE_DIR) + "/tests/golden/" + path;
}

// A manager over a directory of its own. What is asked for is waited for, a minute at most.
class ManagerTest : public testing::Test {
 protected:
  ManagerTest() {
    const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
    directory_ = fs::temp_directory_path() / fmt::format("chorus_{}_{}", test->name(), getpid());
    fs::remove_all(directory_);
    fs::create_directory(directory_);
    options_.directory = directory_;
    options_.poll = std::chrono::milliseconds(5);
  }
  ~ManagerTest() override {
    manager_.reset();
    fs::remove_all(directory_);
  }

  void start() { manager_ = std::make_unique<AdapterManager>(registry_, options_); }

  // Puts a golden adapter into the directory, unseen by the watch if `to` begins with a dot.
  void put(const std::string& from, const std::string& to) const {
    fs::copy(golden("adapters/" + from), directory_ / to,
             fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  }

  template <typename T>
  static T await(std::future<T> future) {
    if (future.wait_for(std::chrono::minutes(1)) != std::future_status::ready) throw Error("no answer");
    return future.get();
  }
  AdapterOutcome load(const std::string& name, const std::string& path, bool replace = false,
                      bool pinned = false) {
    auto answer = std::make_shared<std::promise<AdapterOutcome>>();
    manager_->load(name, path, replace, pinned, [=](const AdapterOutcome& o) { answer->set_value(o); });
    return await(answer->get_future());
  }
  AdapterOutcome unload(const std::string& name, bool wait = true) {
    auto answer = std::make_shared<std::promise<AdapterOutcome>>();
    manager_->unload(name, wait, [=](const AdapterOutcome& o) { answer->set_value(o); });
    return await(answer->get_future());
  }
  struct Acquired {
    AdapterOutcome outcome;
    AdapterSelection selection;
  };
  Acquired acquire(const std::string& mix) {
    auto answer = std::make_shared<std::promise<Acquired>>();
    manager_->acquire(parse_mix(mix), [=](const AdapterOutcome& o, AdapterSelection s) {
      answer->set_value({o, std::move(s)});
    });
    return await(answer->get_future());
  }
  AdapterStatus status(const std::string& name) { return manager_->find(name).value_or(AdapterStatus{}); }
  // Until it holds, a minute at most.
  template <typename F>
  static bool eventually(F&& f) {
    for (int i = 0; i < 12'000; ++i) {
      if (f()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }

  const ModelConfig config_ = TensorSource::open(golden("models/llama_tied")).config();
  AdapterRegistry registry_{config_, {"base"}};
  fs::path directory_;
  AdapterManagerOptions options_;
  std::unique_ptr<AdapterManager> manager_;
};

TEST_F(ManagerTest, LoadsAcquiresListsAndUnloads) {
  put("all_linear", ".a");
  put("qv.gguf", ".b.gguf");
  start();
  EXPECT_EQ(load("a", ".a").message, "");
  EXPECT_EQ(load("b", (directory_ / ".b.gguf").string(), false, true).message, "");
  EXPECT_EQ(load("a", ".b.gguf").problem, AdapterProblem::kExists);

  const Acquired mix = acquire("b@0.25+a");
  ASSERT_EQ(mix.selection.uses.size(), 2u);
  EXPECT_FLOAT_EQ(mix.selection.uses[0].scale, 0.25f);
  EXPECT_NE(mix.selection.uses[0].adapter->id(), mix.selection.uses[1].adapter->id());
  EXPECT_EQ(acquire("a+c").outcome.problem, AdapterProblem::kNotFound);

  const std::vector<AdapterStatus> all = manager_->list();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].name, "a");
  EXPECT_EQ(all[0].path, ".a");
  EXPECT_EQ(all[0].residency, Residency::kReady);
  EXPECT_EQ(all[0].users, 1);
  EXPECT_EQ(all[0].id, mix.selection.uses[1].adapter->id());
  EXPECT_EQ(all[0].loads, 1u);
  EXPECT_GT(all[0].rank, 0);
  EXPECT_GT(all[0].created, 1'600'000'000);
  EXPECT_TRUE(all[1].pinned);
  EXPECT_EQ(all[1].path, ".b.gguf");
  EXPECT_EQ(manager_->resident_bytes(), all[0].bytes + all[1].bytes);

  EXPECT_EQ(unload("b", false).message, "");
  EXPECT_EQ(unload("b").problem, AdapterProblem::kNotFound);
  EXPECT_FALSE(manager_->find("b"));
}

TEST_F(ManagerTest, UnloadWaitsForTheLastUserAndFreesTheMemory) {
  put("all_linear", ".a");
  start();
  load("a", ".a");
  std::optional<Acquired> user = acquire("a");
  AdapterHandle copy = user->selection.uses[0].adapter;
  const std::string id = copy->id();
  std::promise<AdapterOutcome> gone;
  std::future<AdapterOutcome> future = gone.get_future();
  manager_->unload("a", true, [&](const AdapterOutcome& outcome) { gone.set_value(outcome); });
  EXPECT_FALSE(manager_->find("a")) << "the name is gone at once";
  EXPECT_EQ(acquire("a").outcome.problem, AdapterProblem::kNotFound);
  user.reset();
  EXPECT_EQ(future.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  EXPECT_EQ(copy->id(), id) << "what is in use stays whole";
  EXPECT_GT(manager_->resident_bytes(), 0u);
  copy.reset();
  EXPECT_EQ(await(std::move(future)).message, "");
  EXPECT_EQ(manager_->resident_bytes(), 0u);
}

TEST_F(ManagerTest, ReplacesWhileInUse) {
  put("all_linear", ".a");
  put("qv", ".b");
  start();
  load("x", ".a");
  Acquired old = acquire("x");
  const std::string id = old.selection.uses[0].adapter->id();
  EXPECT_EQ(load("x", ".b", true).message, "");
  EXPECT_EQ(old.selection.uses[0].adapter->id(), id);
  EXPECT_NE(acquire("x").selection.uses[0].adapter->id(), id);
  EXPECT_EQ(status("x").users, 1) << "of the version before";
  EXPECT_EQ(status("x").loads, 2u);
  EXPECT_GT(manager_->resident_bytes(), status("x").bytes);
  old = {};
  EXPECT_TRUE(eventually([&] { return manager_->resident_bytes() == status("x").bytes; }));
}

TEST_F(ManagerTest, AFailedLoadLeavesWhatWasThere) {
  put("all_linear", ".a");
  put("qwen3", ".other");
  start();
  load("a", ".a");
  const std::string id = status("a").id;
  const AdapterOutcome outcome = load("a", ".other", true);
  EXPECT_EQ(outcome.problem, AdapterProblem::kRefused);
  EXPECT_EQ(outcome.message.find(directory_.string()), std::string::npos) << outcome.message;
  EXPECT_EQ(acquire("a").selection.uses[0].adapter->id(), id);
  EXPECT_EQ(status("a").error, outcome.message);
  EXPECT_EQ(load("new", ".other").problem, AdapterProblem::kRefused);
  EXPECT_FALSE(manager_->find("new")) << "what never was there is not listed";
  EXPECT_EQ(load("new", ".nothing").problem, AdapterProblem::kNotFound);
  EXPECT_EQ(load("base", ".a").problem, AdapterProblem::kBadName);
  EXPECT_EQ(load("../a", ".a").problem, AdapterProblem::kBadName);
}

TEST_F(ManagerTest, TakesOverWhatFlagsLoaded) {
  registry_.load("flag", golden("adapters/all_linear"));
  start();
  EXPECT_TRUE(registry_.names().empty());
  EXPECT_EQ(acquire("flag").selection.uses.size(), 1u);
  EXPECT_TRUE(status("flag").pinned);
  EXPECT_EQ(unload("flag").message, "");
  EXPECT_EQ(manager_->resident_bytes(), 0u);
}

TEST_F(ManagerTest, ValidatesWithoutPublishing) {
  put("all_linear", ".a");
  put("qwen3", ".other");
  start();
  const auto validate = [&](const std::string& path) {
    std::promise<std::pair<AdapterOutcome, AdapterStatus>> answer;
    manager_->validate(path, [&](const AdapterOutcome& outcome, const AdapterStatus& status) {
      answer.set_value({outcome, status});
    });
    return await(answer.get_future());
  };
  const auto [good, status] = validate(".a");
  EXPECT_EQ(good.message, "");
  EXPECT_EQ(status.id.size(), 64u);
  EXPECT_GT(status.rank, 0);
  EXPECT_EQ(validate(".other").first.problem, AdapterProblem::kRefused);
  EXPECT_TRUE(manager_->list().empty());
  EXPECT_EQ(manager_->resident_bytes(), 0u);
}

}  // namespace
}  // namespace chorus
