#pragma once

#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <unordered_set>

#include "server/batch_runner.h"

namespace chorus {

// The results of a batch: each line goes to PATH.partial as it comes, so that nothing is lost whatever ends
// the run; commit() writes them to PATH, in the order of the input. What a former run left in PATH.partial is
// taken over.
class BatchOutput {
 public:
  // `fingerprint` names the work: hex of the input's and the flags' hash. Error: PATH.partial belongs to
  // other work, or is no such file.
  BatchOutput(std::string path, std::string_view fingerprint);

  void add(const BatchResult& result);
  void commit();

  std::unordered_set<size_t> finished() const;  // numbers of the lines that have a result
  const std::string& partial_path() const { return partial_path_; }

 private:
  struct Slice {
    size_t offset, size;
  };
  void resume(std::string_view fingerprint);

  std::string path_, partial_path_;
  std::ofstream file_;
  size_t size_ = 0;
  std::map<size_t, Slice> lines_;  // by number
};

}  // namespace chorus
