#include <atomic>
#include <fstream>

#include "engine/adapter_manager_harness.h"
#include "model/adapter_export.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

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
  options_.poll = std::chrono::hours(1);  // nothing but the handle wakes the loader
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

TEST_F(ManagerTest, LargestRank) {
  put("rank64", ".a");
  options_.max_rank = 63;
  start();
  const AdapterOutcome outcome = load("a", ".a");
  EXPECT_EQ(outcome.problem, AdapterProblem::kRefused);
  EXPECT_NE(outcome.message.find("rank 64; at most 63"), std::string::npos) << outcome.message;
}

// The verdict on a content is kept: what comes back from disk is not probed again.
TEST_F(ManagerTest, ProbesAContentOnce) {
  put("rank64", ".a");
  std::atomic<int> probes = 0, threads = 0;
  AdapterRegistry registry(config_, {"base"}, [&](const Adapter&, const Adapter&, int n) {
    ++probes;
    threads = n;
    return 0.0;
  });
  AdapterManager manager(registry, options_);
  std::promise<void> first, second;
  manager.load("a", ".a", false, false, [&](const AdapterOutcome&) { first.set_value(); });
  await(first.get_future());
  manager.load("a", ".a", true, false, [&](const AdapterOutcome&) { second.set_value(); });
  await(second.get_future());
  EXPECT_EQ(manager.find("a")->form, AdapterForm::kInt8);
  EXPECT_EQ(manager.find("a")->loads, 2u);
  EXPECT_EQ(probes, 1);
  EXPECT_EQ(threads, 1) << "beside an engine it takes one thread";
}

TEST_F(ManagerTest, FilesThatChangeWhileTheyAreReadAreRefused) {
  put("rank64", ".a");
  AdapterRegistry registry(config_, {"base"}, [&, first = true](const Adapter&, const Adapter&, int) mutable {
    if (std::exchange(first, false))
      std::ofstream(directory_ / ".a/adapter_config.json", std::ios::app) << " ";
    return 1.0;
  });
  manager_ = std::make_unique<AdapterManager>(registry, options_);
  const AdapterOutcome outcome = load("a", ".a");
  EXPECT_EQ(outcome.problem, AdapterProblem::kRefused);
  EXPECT_EQ(outcome.message, ".a: the files changed while they were read");
  EXPECT_EQ(load("a", ".a").message, "");
  manager_.reset();  // before its registry
}

TEST_F(ManagerTest, AnAdaptersOwnChatTemplate) {
  put("all_linear", ".a");
  put("all_linear", ".b");
  put("all_linear", ".c");
  std::ofstream(directory_ / ".a/chat_template.jinja") << "A {{ messages[0].content }}";
  std::ofstream(directory_ / ".b/tokenizer_config.json")
      << R"({"chat_template": [{"name": "tools", "template": "T"}, {"name": "default", "template": "B"}]})";
  std::ofstream(directory_ / ".c/chat_template.jinja") << "{% if %}";
  start();
  ASSERT_EQ(load("a", ".a").message, "");
  ASSERT_EQ(load("b", ".b").message, "");
  EXPECT_EQ(load("c", ".c").problem, AdapterProblem::kRefused);
  const AdapterSelection a = acquire("a").selection;
  EXPECT_EQ(a.chat_template->render({{"messages", json::array{{{"content", "hi"}}}}}), "A hi");
  EXPECT_EQ(acquire("b").selection.chat_template->source(), "B");
  EXPECT_EQ(acquire("a+b").selection.chat_template, nullptr) << "whose of the two?";
  std::ofstream(directory_ / ".a/chat_template.jinja") << "new";
  ASSERT_EQ(load("a", ".a", true).message, "");
  EXPECT_EQ(acquire("a").selection.chat_template->source(), "new");
}

// What was asked for and not done when the manager goes is answered too.
TEST_F(ManagerTest, StoppingAnswersEveryone) {
  put("all_linear", ".a");
  std::promise<void> probing, go_on;
  std::shared_future<void> allowed = go_on.get_future().share();
  AdapterRegistry registry(config_, {"base"}, [&](const Adapter&, const Adapter&, int) {
    probing.set_value();
    allowed.wait();
    return 1.0;
  });
  std::vector<AdapterProblem> problems;
  const auto note = [&](const AdapterOutcome& outcome) { problems.push_back(outcome.problem); };
  auto manager = std::make_unique<AdapterManager>(registry, options_);
  put("rank64", ".r");
  manager->load("r", ".r", false, false, note);
  await(probing.get_future());
  for (int i = 0; i < 3; ++i) manager->load("a", ".a", false, false, note);
  manager->acquire(parse_mix("a"),
                   [&](const AdapterOutcome& outcome, const AdapterSelection&) { note(outcome); });
  manager->validate(".a", [&](const AdapterOutcome& outcome, const AdapterStatus&) { note(outcome); });
  std::thread stop([&] { manager.reset(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  go_on.set_value();
  stop.join();
  using enum AdapterProblem;
  EXPECT_EQ(problems, (std::vector{kNone, kStopping, kStopping, kStopping, kStopping, kStopping}));
}

TEST_F(ManagerTest, EqualLoadsThatWaitAreOne) {
  put("all_linear", ".a");
  put("rank64", ".r");
  std::promise<void> probing, go_on;
  std::shared_future<void> allowed = go_on.get_future().share();
  AdapterRegistry registry(config_, {"base"}, [&, first = true](const Adapter&, const Adapter&, int) mutable {
    if (std::exchange(first, false)) probing.set_value();
    allowed.wait();
    return 1.0;
  });
  AdapterManager manager(registry, options_);
  std::atomic<int> good = 0;
  const auto count = [&](const AdapterOutcome& outcome) { good += outcome.message.empty() ? 1 : 0; };
  manager.load("r", ".r", false, false, count);
  await(probing.get_future());
  for (int i = 0; i < 3; ++i) manager.load("a", ".a", false, false, count);
  EXPECT_EQ(manager.find("a")->residency, Residency::kLoading);
  manager.acquire(parse_mix("a"),
                  [&](const AdapterOutcome& outcome, const AdapterSelection&) { count(outcome); });
  go_on.set_value();
  EXPECT_TRUE(eventually([&] { return good == 5; }));
  EXPECT_EQ(manager.find("a")->loads, 1u);
}

TEST_F(ManagerTest, HandlesOutliveTheManager) {
  put("all_linear", ".a");
  start();
  load("a", ".a");
  const Acquired user = acquire("a");
  manager_.reset();
  EXPECT_EQ(user.selection.uses[0].adapter->id().size(), 64u);
}

// Told once of each content, and there to be asked for.
TEST_F(ManagerTest, AdaptersOfAnotherBaseAreToldOf) {
  AdapterRegistry registry(config_, {"base"}, {}, {"", "abc", ""});
  auto told = std::make_shared<std::vector<std::string>>();
  options_.warn = [=](const std::string& name, const std::string& warning) {
    told->push_back(name + ": " + warning);
  };
  AdapterFile other = read_adapter_file(FileRoot(), golden("adapters/qv"));
  other.base.id = "def";
  write_gguf_adapter(directory_ / ".other.gguf", other, config_);
  put("ranks", ".plain");
  manager_ = std::make_unique<AdapterManager>(registry, options_);
  EXPECT_EQ(load("other", ".other.gguf").message, "");
  EXPECT_EQ(load("plain", ".plain").message, "");
  EXPECT_EQ(load("other", ".other.gguf", true).message, "");
  const std::string warning = "tuned with base def, used with abc: its answers may be worse";
  EXPECT_EQ(status("other").warnings, std::vector{warning});
  EXPECT_TRUE(status("plain").warnings.empty());
  std::promise<AdapterStatus> answer;
  manager_->validate(".other.gguf",
                     [&](const AdapterOutcome&, const AdapterStatus& status) { answer.set_value(status); });
  EXPECT_EQ(await(answer.get_future()).warnings, std::vector{warning});
  manager_.reset();
  EXPECT_EQ(*told, std::vector{"other: " + warning});
}

}  // namespace
}  // namespace chorus
