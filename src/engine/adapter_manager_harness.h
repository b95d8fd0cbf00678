#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "engine/adapter_manager.h"
#include "model/tensor_source.h"

namespace chorus {

inline std::string golden(const std::string& path) {
  return std::string(CHORUS_SOURCE_DIR) + "/tests/golden/" + path;
}

// A manager over a directory of its own. What is asked for is waited for, a minute at most.
class ManagerTest : public testing::Test {
 protected:
  ManagerTest() {
    const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
    directory_ = std::filesystem::temp_directory_path() / fmt::format("chorus_{}_{}", test->name(), getpid());
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directory(directory_);
    options_.directory = directory_;
    options_.poll = std::chrono::milliseconds(5);
  }
  ~ManagerTest() override {
    manager_.reset();
    std::filesystem::remove_all(directory_);
  }

  void start() { manager_ = std::make_unique<AdapterManager>(registry_, options_); }

  // Puts a golden adapter into the directory, unseen by the watch if `to` begins with a dot.
  void put(const std::string& from, const std::string& to) const {
    std::filesystem::copy(
        golden("adapters/" + from), directory_ / to,
        std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
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
  std::filesystem::path directory_;
  AdapterManagerOptions options_;
  std::unique_ptr<AdapterManager> manager_;
};

}  // namespace chorus
