#include "engine/block_manager.h"

#include <bit>
#include <cassert>
#include <cstring>
#include <utility>

namespace chorus {

BlockManager::BlockManager(int pages, std::function<void(int32_t)> on_freed)
    : pages_(static_cast<size_t>(pages)),
      table_(std::bit_ceil(static_cast<size_t>(pages) * 2 + 1), -1),
      on_freed_(std::move(on_freed)) {
  free_.reserve(pages_.size());
  for (int32_t i = pages; i > 0; --i) free_.push_back(i - 1);
}

int32_t BlockManager::allocate() {
  int32_t index = -1;
  if (!free_.empty()) {
    index = free_.back();
    free_.pop_back();
  } else if (oldest_ >= 0) {
    index = oldest_;
    unlink_cached(index);
    erase_entry(page(index).key);
    page(index).published = false;
    if (on_freed_) on_freed_(index);
  } else {
    return -1;
  }
  page(index).users = 1;
  ++used_;
  return index;
}

int32_t BlockManager::acquire(const Digest& key) {
  const int32_t index = table_[find_entry(key)];
  if (index < 0) return -1;
  if (page(index).users++ == 0) {
    unlink_cached(index);
    ++used_;
  }
  return index;
}

BlockManager::Presence BlockManager::find(const Digest& key) const {
  const int32_t index = table_[find_entry(key)];
  if (index < 0) return Presence::kAbsent;
  return page(index).users > 0 ? Presence::kUsed : Presence::kCached;
}

void BlockManager::publish(int32_t index, const Digest& key) {
  Page& p = page(index);
  assert(p.users > 0);
  if (p.published) return;
  int32_t& entry = table_[find_entry(key)];
  if (entry >= 0) return;
  entry = index;
  p.key = key;
  p.published = true;
}

void BlockManager::unpublish(int32_t index) {
  Page& p = page(index);
  assert(p.users > 0);
  if (!p.published) return;
  erase_entry(p.key);
  p.published = false;
}

void BlockManager::release(int32_t index) {
  Page& p = page(index);
  assert(p.users > 0);
  if (--p.users > 0) return;
  --used_;
  if (p.published) {
    append_cached(index);
  } else {
    put_free(index);
  }
}

void BlockManager::put_free(int32_t index) {
  free_.push_back(index);
  if (on_freed_) on_freed_(index);
}

size_t BlockManager::home(const Digest& key) const {
  uint64_t head = 0;
  std::memcpy(&head, key.data(), sizeof head);
  return head & (table_.size() - 1);
}

size_t BlockManager::find_entry(const Digest& key) const {
  size_t slot = home(key);
  while (table_[slot] >= 0 && page(table_[slot]).key != key) slot = (slot + 1) & (table_.size() - 1);
  return slot;
}

// Deletion without tombstones (Knuth 6.4, algorithm R): later entries move up into the hole unless that
// would put them before their home.
void BlockManager::erase_entry(const Digest& key) {
  const size_t mask = table_.size() - 1;
  size_t hole = find_entry(key);
  assert(table_[hole] >= 0);
  for (size_t slot = (hole + 1) & mask; table_[slot] >= 0; slot = (slot + 1) & mask) {
    const size_t distance_home = (slot - home(page(table_[slot]).key)) & mask;
    const size_t distance_hole = (slot - hole) & mask;
    if (distance_home < distance_hole) continue;
    table_[hole] = table_[slot];
    hole = slot;
  }
  table_[hole] = -1;
}

void BlockManager::append_cached(int32_t index) {
  Page& p = page(index);
  p.older = newest_;
  p.newer = -1;
  (newest_ >= 0 ? page(newest_).newer : oldest_) = index;
  newest_ = index;
  ++cached_;
}

void BlockManager::unlink_cached(int32_t index) {
  Page& p = page(index);
  (p.older >= 0 ? page(p.older).newer : oldest_) = p.newer;
  (p.newer >= 0 ? page(p.newer).older : newest_) = p.older;
  p.older = p.newer = -1;
  --cached_;
}

bool BlockManager::consistent() const {
  int used = 0, cached = 0, listed = 0, published = 0, entries = 0;
  for (int32_t i = 0; i < total(); ++i) {
    const Page& p = page(i);
    used += p.users > 0;
    cached += p.users == 0 && p.published;
    published += p.published;
    if (p.users < 0 || (p.published && table_[find_entry(p.key)] != i)) return false;
  }
  for (const int32_t entry : table_) entries += entry >= 0;
  for (int32_t i = oldest_; i >= 0; i = page(i).newer) {
    if (page(i).users != 0 || ++listed > total()) return false;
  }
  for (const int32_t i : free_) {
    if (page(i).users != 0 || page(i).published) return false;
  }
  return used == used_ && cached == cached_ && listed == cached_ && entries == published &&
         free_pages() + used_ + cached_ == total();
}

}  // namespace chorus
