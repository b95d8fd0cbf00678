#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "tuning/tuning_limits.h"

namespace chorus {

// A file that a client sent or a job made. Its content never changes.
struct StoredFile {
  std::string id;        // "file-" and hex
  std::string filename;  // as the client calls it: never part of a path
  std::string purpose;   // "fine-tune", "fine-tune-results"
  uint64_t bytes = 0;
  int64_t created = 0;  // seconds since 1970
};

// There is no room for more: of bytes, or of number.
struct StoreFull : Error {
  using Error::Error;
};

// A new id: `prefix` and 24 hex digits. In their order ids are as old as what they name.
std::string new_id(std::string_view prefix);

// Files by id in a directory, ID/content.EXT and ID/about.json each; they are there again after a restart.
// Thread-safe.
class FileStore {
 public:
  // Makes the directory. What was begun there and not finished is removed. Error: it cannot be used.
  FileStore(std::string directory, const TuningLimits& limits);

  // StoreFull; Error: it cannot be written.
  StoredFile add(const std::string& filename, const std::string& purpose, std::string_view content);
  // The same for a file beneath which it shares the disk's blocks, where it can; not counted in the limits.
  StoredFile link(const std::string& filename, const std::string& purpose, const std::string& path);
  bool remove(const std::string& id);  // false: no such file

  std::optional<StoredFile> find(const std::string& id) const;
  std::vector<StoredFile> list() const;  // the newest first
  std::string path(const StoredFile& file) const;

 private:
  void load();
  StoredFile prepare(const std::string& filename, const std::string& purpose, uint64_t bytes) const;
  void finish(const StoredFile& file);

  const std::string directory_;
  const TuningLimits limits_;
  mutable std::mutex mutex_;
  std::map<std::string, StoredFile> files_;
  uint64_t bytes_ = 0, sent_ = 0;  // of what was sent, with what is being written
};

}  // namespace chorus
