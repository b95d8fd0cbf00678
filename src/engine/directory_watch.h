#pragma once

#include <chrono>
#include <map>
#include <string>

#include "engine/adapter_paths.h"

namespace chorus {

// An adapter that a directory holds.
struct WatchedAdapter {
  std::string path;  // in the directory
  AdapterStamps stamps;
  bool settled = false;  // nobody seems to write to it
  bool gone = false;     // it was there a look ago
};
using WatchedAdapters = std::map<std::string, WatchedAdapter>;  // by name

// Looks at a directory of adapters again and again. What it says of an adapter can be acted on as soon as two
// looks agree, so that files which are being written, and a moment without them, do no harm.
class DirectoryWatch {
 public:
  explicit DirectoryWatch(std::string directory) : directory_(std::move(directory)) {}

  // What is there now. Files unchanged since the last look, or for two seconds, are settled; what is gone
  // stays for one look. Error: as find_adapters(); then nothing is known to have changed.
  const WatchedAdapters& look();

 private:
  std::string directory_;
  WatchedAdapters seen_;
};

}  // namespace chorus
