#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/sha256.h"

namespace chorus {

// Who owns which KV page. A page is free, used (by one or more sequences), or cached: complete, findable by
// its key, used by nobody, and given up, longest unused first, when no page is free. All memory is taken in
// the constructor.
class BlockManager {
 public:
  // `on_freed`, if set, is told each page whose content nobody may read again before it is rewritten (debug
  // builds fill it with NaN).
  explicit BlockManager(int pages, std::function<void(int32_t page)> on_freed = nullptr);

  // A page of the caller's own; -1 if every page is in use.
  int32_t allocate();
  // The page of a complete block, shared; -1 if not there.
  int32_t acquire(const Digest& key);
  // Whether acquire(key) would find it, and whether somebody uses that page now.
  enum class Presence : uint8_t { kAbsent, kCached, kUsed };
  Presence find(const Digest& key) const;

  // Makes a page that the caller has filled findable. If the key is known already, the page stays private.
  void publish(int32_t page, const Digest& key);
  // Takes back publish(): the content is not to be trusted.
  void unpublish(int32_t page);
  // Ends one use.
  void release(int32_t page);

  int total() const { return static_cast<int>(pages_.size()); }
  int free_pages() const { return static_cast<int>(free_.size()); }
  int cached_pages() const { return cached_; }
  int used_pages() const { return used_; }
  int available() const { return free_pages() + cached_; }

  // Walks everything: free + used + cached == total, the lists and the table agree. For tests.
  bool consistent() const;

 private:
  struct Page {
    Digest key{};
    int32_t users = 0;
    bool published = false;
    int32_t older = -1, newer = -1;  // neighbours among the cached pages
  };
  Page& page(int32_t index) { return pages_[static_cast<size_t>(index)]; }
  const Page& page(int32_t index) const { return pages_[static_cast<size_t>(index)]; }
  size_t home(const Digest& key) const;
  size_t find_entry(const Digest& key) const;  // of the key, or of the hole where it would go
  void erase_entry(const Digest& key);
  void append_cached(int32_t index);
  void unlink_cached(int32_t index);
  void put_free(int32_t index);

  std::vector<Page> pages_;
  std::vector<int32_t> free_;
  std::vector<int32_t> table_;  // open addressing, linear probing; -1: hole. At most half full
  int32_t oldest_ = -1, newest_ = -1;
  int cached_ = 0, used_ = 0;
  std::function<void(int32_t)> on_freed_;
};

}  // namespace chorus
