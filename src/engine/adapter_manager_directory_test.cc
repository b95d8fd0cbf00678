#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <map>

#include "engine/adapter_manager_harness.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

// What the directory holds is what there is.
TEST_F(ManagerTest, FollowsTheDirectory) {
  put("all_linear", "a");
  start();
  EXPECT_TRUE(eventually([&] { return status("a").residency == Residency::kReady; }));
  EXPECT_TRUE(status("a").watched);
  const std::string first = status("a").id;
  put("qv.gguf", "b.gguf");
  EXPECT_TRUE(eventually([&] { return status("b").residency == Residency::kReady; }));
  const Acquired user = acquire("a");
  put("qv", ".new");
  fs::rename(directory_ / "a", directory_ / ".old");
  fs::rename(directory_ / ".new", directory_ / "a");
  EXPECT_TRUE(eventually([&] { return status("a").loads == 2; }));
  EXPECT_NE(status("a").id, first);
  EXPECT_EQ(user.selection.uses[0].adapter->id(), first);
  fs::remove_all(directory_ / "a");
  fs::remove(directory_ / "b.gguf");
  EXPECT_TRUE(eventually([&] { return manager_->list().empty(); }));
  EXPECT_GT(manager_->resident_bytes(), 0u) << "a is still in use";
  EXPECT_EQ(manager_->directory_problem(), "");
}

TEST_F(ManagerTest, CatchesUpWithTheDirectoryOnce) {
  for (const std::string name : {"a", "b", "c", "d"}) put("all_linear", name);
  std::ofstream(directory_ / "empty.gguf");
  start();
  EXPECT_TRUE(eventually([&] { return manager_->caught_up(); }));
  EXPECT_EQ(manager_->list().size(), 5u);
  for (const AdapterStatus& adapter : manager_->list()) {
    const bool good = adapter.name != "empty";
    EXPECT_EQ(adapter.residency, good ? Residency::kReady : Residency::kFailed) << adapter.name;
  }
}

TEST_F(ManagerTest, WhatIsWrittenToForEverIsNotWaitedFor) {
  const std::string whole = golden("adapters/all_linear.gguf");
  fs::copy_file(whole, directory_ / "a.gguf");
  start();
  const auto keep_writing = [&] {
    std::ofstream(directory_ / "a.gguf", std::ios::app) << 'x';
    return manager_->caught_up();
  };
  EXPECT_TRUE(eventually(keep_writing));
}

TEST_F(ManagerTest, AHalfWrittenFileIsNoAdapterYet) {
  const std::string whole = golden("adapters/all_linear.gguf");
  const auto size = fs::file_size(whole);
  std::string bytes(size, '\0');
  std::ifstream(whole).read(bytes.data(), static_cast<std::streamsize>(size));
  put("qv.gguf", "b.gguf");
  start();
  ASSERT_TRUE(eventually([&] { return status("b").residency == Residency::kReady; }));
  const std::string id = status("b").id;
  for (const std::string name : {"a.gguf", "b.gguf"})  // a new one, and one that is written anew in place
    std::ofstream(directory_ / name).write(bytes.data(), static_cast<std::streamsize>(size / 2));
  EXPECT_TRUE(eventually([&] { return !status("a").error.empty() && !status("b").error.empty(); }));
  EXPECT_EQ(status("a").residency, Residency::kFailed);
  EXPECT_EQ(acquire("a").outcome.message, status("a").error);
  EXPECT_EQ(acquire("b").selection.uses[0].adapter->id(), id) << "the version before stays";
  const uint64_t loads = status("b").loads;
  std::this_thread::sleep_for(options_.poll * 10);
  EXPECT_EQ(status("b").loads, loads);
  for (const std::string name : {"a.gguf", "b.gguf"})
    std::ofstream(directory_ / name).write(bytes.data(), static_cast<std::streamsize>(size));
  EXPECT_TRUE(eventually([&] { return status("a").error.empty() && status("b").error.empty(); }));
  EXPECT_EQ(status("a").id, status("b").id);
  EXPECT_NE(status("b").id, id);
}

TEST_F(ManagerTest, WhatIsNoAdapterIsReportedAndHarmless) {
  put("all_linear", "good");
  put("all_linear", "base");
  put("all_linear", "bad name");
  ASSERT_EQ(mkfifo((directory_ / "fifo.gguf").c_str(), 0600), 0);
  std::ofstream(directory_ / "empty.gguf");
  std::ofstream(directory_ / "sparse.gguf");
  fs::resize_file(directory_ / "sparse.gguf", uintmax_t{1} << 40);
  fs::create_directory(directory_ / "dir.gguf");
  fs::create_symlink("/dev/zero", directory_ / "zero.gguf");
  fs::create_symlink(golden("adapters/qv.gguf"), directory_ / "outside.gguf");
  fs::create_symlink("good", directory_ / "linked");
  fs::create_symlink(golden("adapters/qv"), directory_ / "folder");
  put("all_linear", "pickle");
  fs::rename(directory_ / "pickle/adapter_model.safetensors", directory_ / "pickle/adapter_model.bin");
  start();
  const std::map<std::string, std::string> reasons = {{"base", "the base's"},
                                                      {"bad name", "are allowed"},
                                                      {"fifo", "fifo.gguf: not a regular file"},
                                                      {"empty", "empty.gguf: the file is empty"},
                                                      {"sparse", "at most 2147483648 can be loaded"},
                                                      {"dir", "dir.gguf/adapter_config.json: No such file"},
                                                      {"zero", "zero.gguf: leads out of the directory"},
                                                      {"outside", "outside.gguf: leads out of the directory"},
                                                      {"folder", "folder: leads out of the directory"},
                                                      {"pickle", "pickled weights are never loaded"}};
  EXPECT_TRUE(eventually([&] {
    return std::ranges::none_of(manager_->list(),
                                [](const AdapterStatus& s) { return s.residency == Residency::kLoading; }) &&
           manager_->list().size() == reasons.size() + 2;
  }));
  for (const auto& [name, reason] : reasons) {
    EXPECT_EQ(status(name).residency, Residency::kFailed) << name;
    EXPECT_NE(status(name).error.find(reason), std::string::npos) << name << ": " << status(name).error;
    EXPECT_EQ(status(name).error.find(directory_.string()), std::string::npos) << status(name).error;
    EXPECT_EQ(status(name).error.find("/dev"), std::string::npos) << status(name).error;
  }
  EXPECT_EQ(status("good").residency, Residency::kReady);
  EXPECT_EQ(status("linked").id, status("good").id);
  // By request no link is followed at all, and nothing outside is reached.
  EXPECT_EQ(load("x", "outside.gguf").problem, AdapterProblem::kRefused);
  EXPECT_EQ(load("x", "../x").problem, AdapterProblem::kRefused);
  EXPECT_EQ(load("x", golden("adapters/qv.gguf")).problem, AdapterProblem::kRefused);
  fs::create_directory_symlink("good", directory_ / ".link");
  EXPECT_EQ(load("x", ".link").problem, AdapterProblem::kRefused);
}

TEST_F(ManagerTest, AnUnloadedFileComesBackWhenItChanges) {
  put("all_linear", "a");
  start();
  ASSERT_TRUE(eventually([&] { return status("a").residency == Residency::kReady; }));
  EXPECT_EQ(unload("a").message, "");
  std::this_thread::sleep_for(options_.poll * 10);
  EXPECT_FALSE(manager_->find("a"));
  put("qv", "a");
  EXPECT_TRUE(eventually([&] { return status("a").residency == Residency::kReady; }));
  EXPECT_EQ(unload("a").message, "");
  EXPECT_EQ(load("a", "a").message, "") << "or when it is asked for";
  EXPECT_TRUE(status("a").watched);
}

TEST_F(ManagerTest, AMissingDirectoryIsNotAnEmptyOne) {
  put("all_linear", "a");
  start();
  ASSERT_TRUE(eventually([&] { return status("a").residency == Residency::kReady; }));
  fs::rename(directory_, directory_.string() + ".away");
  EXPECT_TRUE(eventually([&] { return !manager_->directory_problem().empty(); }));
  EXPECT_EQ(acquire("a").outcome.message, "");
  EXPECT_EQ(load("b", "a").message, "the directory of the adapters cannot be opened");
  fs::rename(directory_.string() + ".away", directory_);
  EXPECT_TRUE(eventually([&] { return manager_->directory_problem().empty(); }));
  EXPECT_EQ(status("a").loads, 1u);
}

TEST_F(ManagerTest, MoreAdaptersThanAllowed) {
  for (const std::string name : {"a", "b", "c"}) put("all_linear", name);
  options_.max_adapters = 2;
  start();
  EXPECT_TRUE(eventually([&] { return !manager_->directory_problem().empty(); }));
  EXPECT_EQ(manager_->list().size(), 2u);
  EXPECT_EQ(load("d", "c").problem, AdapterProblem::kNoMemory);
  fs::remove_all(directory_ / "a");
  EXPECT_TRUE(eventually([&] { return status("c").residency == Residency::kReady; }));
}

TEST_F(ManagerTest, WhatWasTunedIsPublishedByNameAndStep) {
  std::filesystem::create_directories(directory_ / "tuned/a");
  put("all_linear", "tuned/a/elf@40");
  options_.tuned_directory = directory_ / "tuned";
  options_.directory.clear();
  start();
  const auto publish = [&](const std::string& name, const std::string& path) {
    auto answer = std::make_shared<std::promise<AdapterOutcome>>();
    manager_->publish(name, path, [=](const AdapterOutcome& o) { answer->set_value(o); });
    return await(answer->get_future()).problem;
  };
  EXPECT_EQ(publish("elf@40", "a/elf@40"), AdapterProblem::kNone);
  EXPECT_TRUE(manager_->known("elf@40"));
  EXPECT_FALSE(manager_->known("elf"));
  EXPECT_EQ(status("elf@40").path, "a/elf@40");
  EXPECT_EQ(publish("elf@40", "a/elf@40"), AdapterProblem::kNone) << "again, in its place";
  EXPECT_EQ(publish("elf@", "a/elf@40"), AdapterProblem::kBadName);
  EXPECT_EQ(publish("elf@x", "a/elf@40"), AdapterProblem::kBadName);
  EXPECT_EQ(publish("base@1", "a/elf@40"), AdapterProblem::kBadName);
  EXPECT_NE(publish("elf", "../elf"), AdapterProblem::kNone);
  EXPECT_NE(load("elf", "a/elf@40").problem, AdapterProblem::kNone) << "clients load from elsewhere";
  EXPECT_EQ(unload("elf@40").problem, AdapterProblem::kNone);
  EXPECT_FALSE(manager_->known("elf@40"));
}

}  // namespace
}  // namespace chorus
