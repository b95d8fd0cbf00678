#include "model/packed_cache.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "model/golden_test_util.h"
#include "model/tensor_source.h"
#include "model/weights.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

// A copy of a golden model and a cache directory, gone with the object.
class PackedCacheTest : public testing::Test {
 protected:
  PackedCacheTest() {
    folder_ = fs::temp_directory_path() / fmt::format("chorus-cache-{}", getpid());
    fs::create_directories(folder_);
    use_model("models/llama_tied_q4_0.gguf");
  }
  ~PackedCacheTest() override { fs::remove_all(folder_); }

  // Another file under the same path.
  void use_model(const std::string& golden) {
    fs::remove(model_path());
    fs::copy_file(golden_path(golden), model_path());
  }
  std::string model_path() const { return folder_ / "model.gguf"; }
  std::string cache_path() const { return folder_ / "cache"; }

  Model load() {
    cache_ = {.directory = cache_path(), .min_bytes = 0, .problem = {}};
    TensorSource source = TensorSource::open(model_path());
    return load_model(source, team_, cache_);
  }

  std::vector<fs::path> files() const {
    std::vector<fs::path> all;
    for (const auto& entry : fs::directory_iterator(cache_path())) all.push_back(entry.path());
    return all;
  }

  void expect_equal(const Model& a, const Model& b) const {
    const auto same = [](const PackedMatrix& x, const PackedMatrix& y) {
      ASSERT_EQ(packed_bytes(x), packed_bytes(y));
      EXPECT_EQ(reinterpret_cast<uintptr_t>(x.data) % 64, 0u);
      EXPECT_EQ(std::memcmp(x.data, y.data, packed_bytes(x)), 0);
    };
    same(a.embedding.view, b.embedding.view);
    for (size_t i = 0; i < a.layers.size(); ++i) {
      for (size_t t = 0; t < kLayerTargets; ++t)
        same(a.layers[i].linears[t].view, b.layers[i].linears[t].view);
    }
    EXPECT_EQ(a.bytes(), b.bytes());
  }

  // Damages the one file of the cache and expects that the next load writes it anew.
  template <typename Damage>
  void expect_rebuilt_after(Damage damage) {
    load();
    ASSERT_EQ(files().size(), 1u);
    const fs::path path = files()[0];
    damage(path);
    struct stat before {};
    ASSERT_EQ(stat(path.c_str(), &before), 0);
    const Model model = load();
    EXPECT_EQ(cache_.problem, "");
    expect_equal(model, load_model(model_path(), team_));
    struct stat after {};
    ASSERT_EQ(stat(path.c_str(), &after), 0);
    EXPECT_NE(before.st_ino, after.st_ino);
  }

  ThreadTeam team_{2};
  PackedCache cache_;
  fs::path folder_;
};

TEST_F(PackedCacheTest, TheSecondStartMapsWhatTheFirstWrote) {
  const Model plain = load_model(model_path(), team_);
  EXPECT_EQ(plain.packed_file, nullptr);
  for (int start = 0; start < 3; ++start) {
    const Model model = load();
    ASSERT_NE(model.packed_file, nullptr);
    EXPECT_EQ(cache_.problem, "");
    EXPECT_EQ(files().size(), 1u);
    EXPECT_EQ(model.id, plain.id);
    expect_equal(model, plain);
  }
}

TEST_F(PackedCacheTest, SmallModelsAreNotKept) {
  cache_ = {.directory = cache_path(), .problem = {}};
  TensorSource source = TensorSource::open(model_path());
  EXPECT_EQ(load_model(source, team_, cache_).packed_file, nullptr);
  EXPECT_FALSE(fs::exists(cache_path()));
}

TEST_F(PackedCacheTest, AnotherFileUnderThePathReplacesTheCache) {
  load();
  const fs::path old = files()[0];
  use_model("models/llama_tied_q4_1.gguf");
  expect_equal(load(), load_model(model_path(), team_));
  ASSERT_EQ(files().size(), 1u);
  EXPECT_NE(files()[0], old);
}

TEST_F(PackedCacheTest, AFileEditedInPlaceIsPackedAnew) {
  load();
  const fs::path old = files()[0];
  const auto time = fs::last_write_time(model_path());
  {
    std::fstream file(model_path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-100, std::ios::end);
    file.put('\1');
  }
  fs::last_write_time(model_path(), time);  // size, inode and this time are as before
  expect_equal(load(), load_model(model_path(), team_));
  ASSERT_EQ(files().size(), 1u);
  EXPECT_NE(files()[0], old);
}

TEST_F(PackedCacheTest, DamagedFilesAreRebuilt) {
  expect_rebuilt_after([](const fs::path& path) { fs::resize_file(path, fs::file_size(path) - 1); });
  expect_rebuilt_after([](const fs::path& path) { fs::resize_file(path, 0); });
  expect_rebuilt_after([](const fs::path& path) { fs::resize_file(path, fs::file_size(path) + 64); });
  expect_rebuilt_after([](const fs::path& path) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(20);
    file.put('x');
  });
}

TEST_F(PackedCacheTest, WithoutAUsableDirectoryTheModelIsPackedInMemory) {
  std::ofstream(cache_path()) << "in the way";
  const Model model = load();
  EXPECT_EQ(model.packed_file, nullptr);
  EXPECT_NE(cache_.problem, "");
  expect_equal(model, load_model(model_path(), team_));
}

TEST_F(PackedCacheTest, FilesOfModelsThatAreGoneAreRemoved) {
  load();
  const fs::path orphan = files()[0], stranger = cache_path() + "/notes.packed";
  std::ofstream(stranger) << "not ours";
  fs::remove(model_path());
  const std::string other = folder_ / "other.gguf";
  fs::copy_file(golden_path("models/llama_tied_q8_0.gguf"), other);
  TensorSource source = TensorSource::open(other);
  EXPECT_NE(load_model(source, team_, cache_).packed_file, nullptr);
  EXPECT_FALSE(fs::exists(orphan));
  EXPECT_TRUE(fs::exists(stranger));
  EXPECT_EQ(files().size(), 2u);
}

}  // namespace
}  // namespace chorus
