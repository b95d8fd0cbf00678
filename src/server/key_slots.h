#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace chorus {

// How many requests of each API key are being answered. Thread-safe; the slots may outlive it.
class KeySlots {
 public:
  explicit KeySlots(int per_key) : per_key_(per_key), counts_(std::make_shared<Counts>()) {}

  // A slot, given back when the last copy is dropped; null: the key has as many as it may.
  std::shared_ptr<void> take(const std::string& key);

 private:
  struct Counts {
    std::mutex mutex;
    std::map<std::string, int> of;
  };
  const int per_key_;
  std::shared_ptr<Counts> counts_;
};

}  // namespace chorus
