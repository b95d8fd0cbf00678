#include "tuning/file_store.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <random>

#include "base/atomic_file.h"
#include "formats/json.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kAbout = "about.json", kResults = "fine-tune-results";
constexpr size_t kMaxAbout = size_t{64} << 10;
constexpr std::array<std::string_view, 5> kEndings = {".jsonl", ".json", ".csv", ".txt", ".safetensors"};

// The form of data is told from a file's ending too; nothing else of its name counts.
std::string_view ending_of(std::string_view filename) {
  std::string lower(filename);
  std::ranges::transform(lower, lower.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  const auto* found =
      std::ranges::find_if(kEndings, [&](std::string_view ending) { return lower.ends_with(ending); });
  return found == kEndings.end() ? kEndings[0] : *found;
}

json::object about(const StoredFile& file) {
  return {{"id", file.id},
          {"filename", file.filename},
          {"purpose", file.purpose},
          {"bytes", file.bytes},
          {"created", file.created}};
}

StoredFile file_of(const json::object& about) {
  return {.id = std::string(about.at("id").as_string()),
          .filename = std::string(about.at("filename").as_string()),
          .purpose = std::string(about.at("purpose").as_string()),
          .bytes = about.at("bytes").to_number<uint64_t>(),
          .created = about.at("created").to_number<int64_t>()};
}

}  // namespace

std::string new_id(std::string_view prefix) {
  std::random_device random;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return fmt::format("{}{:016x}{:08x}", prefix,
                     std::chrono::duration_cast<std::chrono::nanoseconds>(now).count(), random());
}

FileStore::FileStore(std::string directory, const TuningLimits& limits)
    : directory_(std::move(directory)), limits_(limits) {
  std::error_code error;
  fs::create_directories(directory_, error);
  if (error) fail("{}: cannot be made: {}", printable(directory_, 300), error.message());
  load();
}

// What has no about.json was not finished.
void FileStore::load() {
  for (const fs::directory_entry& entry : fs::directory_iterator(directory_)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("file-")) continue;
    try {
      StoredFile file = file_of(read_json_file(entry.path() / kAbout, kMaxAbout).as_object());
      if (file.id != name) continue;
      const bool sent = file.purpose != kResults;
      bytes_ += sent ? file.bytes : 0;
      sent_ += sent ? 1 : 0;
      files_.emplace(name, std::move(file));
    } catch (const std::exception&) {
      std::error_code ignored;
      if (!fs::exists(entry.path() / kAbout, ignored)) fs::remove_all(entry.path(), ignored);
    }
  }
}

StoredFile FileStore::prepare(const std::string& filename, const std::string& purpose, uint64_t bytes) const {
  StoredFile file{new_id("file-"), printable(filename, 255), purpose, bytes, std::time(nullptr)};
  std::error_code error;
  fs::create_directories(fs::path(directory_) / file.id, error);
  if (error) fail("the file cannot be kept: {}", error.message());
  return file;
}

void FileStore::finish(const StoredFile& file) {
  AtomicFile out(fmt::format("{}/{}/{}", directory_, file.id, kAbout));
  out.write(json::serialize(about(file)));
  out.commit();
  const std::lock_guard lock(mutex_);
  files_.emplace(file.id, file);
}

StoredFile FileStore::add(const std::string& filename, const std::string& purpose, std::string_view content) {
  {
    const std::lock_guard lock(mutex_);
    if (sent_ >= limits_.files)
      throw StoreFull(fmt::format("{} files are kept, as many as may be; delete some", sent_));
    if (content.size() > limits_.all_file_bytes - bytes_) {
      throw StoreFull(
          fmt::format("{} MB of files are kept; with this one they would be more than {} MB; delete some",
                      bytes_ / 1'000'000, limits_.all_file_bytes / 1'000'000));
    }
    bytes_ += content.size();
    ++sent_;
  }
  std::string folder;
  try {
    StoredFile file = prepare(filename, purpose, content.size());
    folder = fmt::format("{}/{}", directory_, file.id);
    AtomicFile out(path(file));
    out.write(content);
    out.commit();
    finish(file);
    return file;
  } catch (...) {
    std::error_code ignored;
    if (!folder.empty()) fs::remove_all(folder, ignored);
    const std::lock_guard lock(mutex_);
    bytes_ -= content.size();
    --sent_;
    throw;
  }
}

StoredFile FileStore::link(const std::string& filename, const std::string& purpose,
                           const std::string& path_of) {
  std::error_code error;
  StoredFile file = prepare(filename, purpose, fs::file_size(path_of, error));
  fs::create_hard_link(path_of, path(file), error);
  if (error) fs::copy_file(path_of, path(file), error);
  if (error) fail("the file cannot be kept: {}", error.message());
  finish(file);
  return file;
}

bool FileStore::remove(const std::string& id) {
  {
    const std::lock_guard lock(mutex_);
    const auto it = files_.find(id);
    if (it == files_.end()) return false;
    if (it->second.purpose != kResults) {
      bytes_ -= it->second.bytes;
      --sent_;
    }
    files_.erase(it);
  }
  // The description first: what is left without one is no file any more.
  std::error_code ignored;
  const fs::path folder = fs::path(directory_) / id;
  fs::remove(folder / kAbout, ignored);
  fs::remove_all(folder, ignored);
  return true;
}

std::optional<StoredFile> FileStore::find(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto it = files_.find(id);
  return it == files_.end() ? std::nullopt : std::optional(it->second);
}

std::vector<StoredFile> FileStore::list() const {
  std::vector<StoredFile> all;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, file] : files_) all.push_back(file);
  }
  std::ranges::reverse(all);
  return all;
}

std::string FileStore::path(const StoredFile& file) const {
  return fmt::format("{}/{}/content{}", directory_, file.id, ending_of(file.filename));
}

}  // namespace chorus
