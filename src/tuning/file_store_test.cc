#include "tuning/file_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/mapped_file.h"
#include "tuning/tuning_job.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

JobCheckpoint checkpoint(const std::string& adapter, int64_t step) {
  JobCheckpoint out;
  out.adapter = adapter;
  out.step = step;
  return out;
}

class FileStoreTest : public testing::Test {
 protected:
  FileStoreTest() {
    const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::temp_directory_path() / fmt::format("chorus_{}_{}", test->name(), getpid());
    fs::remove_all(folder_);
  }
  ~FileStoreTest() override { fs::remove_all(folder_); }
  FileStore open() const { return {folder_, limits_}; }
  static std::string content(const FileStore& store, const StoredFile& file) {
    return read_file(store.path(file), 1000);
  }

  fs::path folder_;
  TuningLimits limits_{.all_file_bytes = 100, .files = 3};
};

TEST_F(FileStoreTest, KeepsFilesOverARestart) {
  std::string first, second;
  {
    FileStore store = open();
    first = store.add("a.CSV", "fine-tune", "x,y").id;
    second = store.add("../../b\n", "fine-tune", "{}").id;
    EXPECT_NE(first, second);
    EXPECT_LT(first, second) << "older ids come first";
  }
  const FileStore store = open();
  const std::vector<StoredFile> files = store.list();
  ASSERT_EQ(files.size(), 2U);
  EXPECT_EQ(files[0].id, second) << "the newest first";
  EXPECT_EQ(content(store, files[0]), "{}");
  EXPECT_EQ(files[0].filename, "../../b\\x0a");
  EXPECT_TRUE(store.path(files[0]).starts_with((folder_ / second).string() + "/content."));
  EXPECT_TRUE(store.path(files[1]).ends_with(".csv"));
  EXPECT_EQ(files[1].bytes, 3U);
  EXPECT_FALSE(store.find("../" + second));
}

TEST_F(FileStoreTest, IsBoundedInBytesAndNumber) {
  FileStore store = open();
  const std::string large = store.add("a", "fine-tune", std::string(60, 'x')).id;
  EXPECT_THROW(store.add("b", "fine-tune", std::string(41, 'x')), StoreFull);
  store.add("c", "fine-tune", std::string(40, 'x'));
  EXPECT_THROW(store.add("d", "fine-tune", "x"), StoreFull);
  EXPECT_TRUE(store.remove(large));
  EXPECT_FALSE(store.remove(large));
  store.add("e", "fine-tune", "x");
  store.add("f", "fine-tune", "x");
  EXPECT_THROW(store.add("g", "fine-tune", "x"), StoreFull);
  EXPECT_EQ(store.list().size(), 3U);
  FileStore again = open();
  EXPECT_THROW(again.add("g", "fine-tune", "x"), StoreFull);
}

TEST_F(FileStoreTest, ResultsShareTheJobsFileAndAreNotCounted) {
  FileStore store = open();
  const fs::path made = fs::temp_directory_path() / fmt::format("chorus_result_{}", getpid());
  std::ofstream(made) << std::string(500, 'r');
  const StoredFile file = store.link("adapter_model.safetensors", "fine-tune-results", made);
  fs::remove(made);
  EXPECT_EQ(file.bytes, 500U);
  EXPECT_EQ(content(store, file), std::string(500, 'r'));
  store.add("a", "fine-tune", std::string(100, 'x'));
  EXPECT_THROW(store.link("gone", "fine-tune-results", made), Error);
}

TEST_F(FileStoreTest, WhatWasNotFinishedIsRemoved) {
  {
    FileStore store = open();
    store.add("a", "fine-tune", "x");
  }
  fs::create_directories(folder_ / "file-1234");
  std::ofstream(folder_ / "file-1234" / "content.jsonl") << "half";
  fs::create_directories(folder_ / "file-99");
  std::ofstream(folder_ / "file-99" / "about.json") << "[";
  EXPECT_EQ(open().list().size(), 1U);
  EXPECT_FALSE(fs::exists(folder_ / "file-1234"));
  EXPECT_TRUE(fs::exists(folder_ / "file-99")) << "what somebody described is not ours to remove";
}

TEST_F(FileStoreTest, JobsAreTheSameAfterReading) {
  fs::create_directories(folder_);
  TuningJob job;
  job.id = "ftjob-1";
  job.request.model = "base";
  job.request.name = job.request.suffix = "elf";
  job.request.training_file = "file-1";
  job.request.settings.rank = 5;
  job.request.settings.learning_rate = 0.1;
  job.request.metadata = {{"a", "b"}};
  job.status = JobStatus::kFailed;
  job.created = 5;
  job.error = "no \"good\"";
  job.result_files = {"file-2"};
  add_event(job, "info", "began", {}, limits_);
  add_checkpoint(
      job,
      {.id = "c", .adapter = "elf@5", .created = 6, .step = 5, .train_loss = 0.1, .validation_loss = 1.0 / 3},
      limits_);
  const std::string path = folder_ / "job.json";
  write_job(job, path);
  const TuningJob again = read_job(path);
  EXPECT_EQ(again.request.name, "elf");
  EXPECT_EQ(again.request.settings.rank, 5);
  EXPECT_EQ(again.request.settings.learning_rate, 0.1);
  EXPECT_EQ(again.status, JobStatus::kFailed);
  EXPECT_EQ(again.error, job.error);
  EXPECT_EQ(again.result_files, job.result_files);
  ASSERT_EQ(again.events.size(), 1U);
  EXPECT_EQ(again.events[0].id, job.events[0].id);
  ASSERT_EQ(again.checkpoints.size(), 1U);
  EXPECT_EQ(again.checkpoints[0].validation_loss, 1.0 / 3);
  for (const char* bad : {"", "[]", "{}", "{\"id\": 5}", "{\"id\": \"x\", \"request\": {}}"}) {
    std::ofstream(path) << bad;
    EXPECT_THROW(read_job(path), Error) << bad;
  }
}

TEST(TuningJobEvents, AreBoundedAndThoseOfStepsGoFirst) {
  TuningJob job;
  const TuningLimits limits{.events = 4};
  add_event(job, "info", "began", {}, limits);
  for (int i = 0; i < 10; ++i) add_event(job, "info", "step", {{"step", i}, {"train_loss", 1}}, limits);
  add_event(job, "info", "evaluated", {{"valid_loss", 1}}, limits);
  ASSERT_EQ(job.events.size(), 4U);
  EXPECT_EQ(job.events[0].message, "began");
  EXPECT_EQ(job.events[1].data.at("step").as_int64(), 8);
  EXPECT_EQ(job.events[3].message, "evaluated");
  for (int step = 1; step < 10; ++step) add_checkpoint(job, checkpoint("", step), limits);
  add_checkpoint(job, checkpoint("again", 8), limits);
  ASSERT_EQ(job.checkpoints.size(), 4U);
  EXPECT_EQ(job.checkpoints[3].adapter, "again");
}

}  // namespace
}  // namespace chorus
