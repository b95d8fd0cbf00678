#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "model/adapter.h"

namespace chorus {

enum class Residency : uint8_t { kLoading, kReady, kOnDisk, kFailed };

// What is known of one adapter; a copy.
struct AdapterStatus {
  std::string name;
  std::string path;  // relative to the directory; of an adapter from a flag, as the flag gave it
  std::string id;    // content hash, hex; empty until it was loaded once
  Residency residency = Residency::kLoading;
  bool pinned = false;   // never leaves the memory
  bool watched = false;  // comes from the directory
  int rank = 0;
  AdapterForm form = AdapterForm::kExact;
  size_t bytes = 0;         // in memory, when it is there
  int users = 0;            // requests that hold a version of this name
  double load_seconds = 0;  // of the last load
  uint64_t loads = 0;
  std::vector<std::string> warnings;  // of the last load; see base_warnings()
  std::string error;                  // why the last load failed; the version before it stays in use
  int64_t created = 0;                // seconds since 1970, of the first load
};

// Why a load, an unload or an acquisition could not be done.
enum class AdapterProblem : uint8_t {
  kNone,
  kBadName,
  kExists,
  kNotFound,  // no such name; of a load, no such path, or the name was unloaded meanwhile
  kRefused,   // the files are no adapter for this base, or are over a limit
  kNoMemory,  // no room, be it memory or number, while the others are pinned or in use
  kStopping   // the manager is going away
};
struct AdapterOutcome {
  AdapterProblem problem = AdapterProblem::kNone;
  std::string message;  // one line, no path but those relative to the directory; empty: all is well
};

// Must not throw.
using AdapterDone = std::function<void(const AdapterOutcome& outcome)>;

}  // namespace chorus
