#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace chorus {

// A hash map from 64-bit keys to small values in one array: what a merge looks up for every pair of symbols.
// Keys are below kEmpty; nothing is erased.
template <typename Value>
class FlatMap {
 public:
  static constexpr uint64_t kEmpty = ~uint64_t{0};

  explicit FlatMap(size_t expected = 0) {
    size_t capacity = 16;
    while (capacity < 2 * expected) capacity *= 2;
    slots_.resize(capacity);
  }

  const Value* find(uint64_t key) const {
    const Slot& slot = slots_[locate(key)];
    return slot.key == key ? &slot.value : nullptr;
  }

  // The value of the key, made if it is not there.
  Value& operator[](uint64_t key) {
    if (2 * (size_ + 1) > slots_.size()) grow();
    Slot& slot = slots_[locate(key)];
    if (slot.key != key) {
      slot.key = key;
      ++size_;
    }
    return slot.value;
  }

 private:
  struct Slot {
    uint64_t key = kEmpty;
    Value value{};
  };

  // Where the key is, or would be.
  size_t locate(uint64_t key) const {
    uint64_t hash = (key ^ key >> 32) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 29;
    size_t i = hash & (slots_.size() - 1);
    while (slots_[i].key != key && slots_[i].key != kEmpty) i = (i + 1) & (slots_.size() - 1);
    return i;
  }

  void grow() {
    std::vector<Slot> old(2 * slots_.size());
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.key != kEmpty) slots_[locate(slot.key)] = slot;
    }
  }

  std::vector<Slot> slots_;  // a power of two of them, at most half used
  size_t size_ = 0;
};

}  // namespace chorus
