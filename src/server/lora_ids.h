#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/adapter_registry.h"

namespace chorus {

// llama-server calls adapters by numbers and gives each a scale for requests that choose none. A name keeps
// its number for as long as the server runs. Thread-safe.
class LoraIds {
 public:
  struct Entry {
    int64_t id = 0;
    std::string name;
    float scale = 0;  // for requests to the base that choose nothing
  };

  // Numbers for names that have none yet, in this order.
  void add(const std::vector<std::string>& names);
  std::vector<Entry> entries() const;
  std::optional<std::string> name_of(int64_t id) const;
  // Of the ids given; the others' become 0. False: an id that is not there, and nothing is changed.
  bool set_scales(const std::vector<std::pair<int64_t, float>>& scales);
  std::vector<MixPart> defaults() const;  // those whose scale is not 0

 private:
  mutable std::mutex mutex_;
  std::vector<Entry> entries_;  // by id
};

}  // namespace chorus
