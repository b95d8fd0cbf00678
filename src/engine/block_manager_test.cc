#include "engine/block_manager.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace chorus {
namespace {

Digest key_of(int n) {
  Digest key{};
  key[0] = std::byte(n & 3);  // few homes: the table's probing and deletion get work
  key[30] = std::byte(n >> 8 & 255);
  key[31] = std::byte(n & 255);
  return key;
}

TEST(BlockManager, GivesEveryPageOnceAndTakesThemBack) {
  BlockManager blocks(5);
  std::vector<int32_t> pages;
  for (int i = 0; i < 5; ++i) pages.push_back(blocks.allocate());
  EXPECT_EQ(blocks.allocate(), -1);
  std::sort(pages.begin(), pages.end());
  EXPECT_EQ(pages, (std::vector<int32_t>{0, 1, 2, 3, 4}));
  for (const int32_t page : pages) blocks.release(page);
  EXPECT_EQ(blocks.free_pages(), 5);
  EXPECT_TRUE(blocks.consistent());
}

TEST(BlockManager, EvictsTheLongestUnusedCachedPage) {
  std::vector<int32_t> freed;
  BlockManager blocks(3, [&](int32_t page) { freed.push_back(page); });
  int32_t pages[3];
  for (int i = 0; i < 3; ++i) {
    pages[i] = blocks.allocate();
    blocks.publish(pages[i], key_of(i));
  }
  for (const int32_t page : pages) blocks.release(page);
  EXPECT_EQ(blocks.cached_pages(), 3);
  EXPECT_TRUE(freed.empty());
  EXPECT_EQ(blocks.acquire(key_of(0)), pages[0]);  // no longer the oldest
  blocks.release(pages[0]);
  EXPECT_EQ(blocks.allocate(), pages[1]);
  EXPECT_EQ(freed, (std::vector<int32_t>{pages[1]}));
  EXPECT_EQ(blocks.acquire(key_of(1)), -1);
  EXPECT_EQ(blocks.acquire(key_of(2)), pages[2]);
  EXPECT_TRUE(blocks.consistent());
}

TEST(BlockManager, ASharedPageStaysUntilItsLastUser) {
  BlockManager blocks(1);
  const int32_t page = blocks.allocate();
  blocks.publish(page, key_of(1));
  EXPECT_EQ(blocks.acquire(key_of(1)), page);
  blocks.release(page);
  EXPECT_EQ(blocks.allocate(), -1);
  EXPECT_EQ(blocks.find(key_of(1)), BlockManager::Presence::kUsed);
  blocks.release(page);
  EXPECT_EQ(blocks.find(key_of(1)), BlockManager::Presence::kCached);
  EXPECT_EQ(blocks.allocate(), page);
  EXPECT_EQ(blocks.find(key_of(1)), BlockManager::Presence::kAbsent);
}

TEST(BlockManager, UnpublishedContentIsNotFoundAgain) {
  BlockManager blocks(2);
  const int32_t page = blocks.allocate();
  blocks.publish(page, key_of(1));
  blocks.unpublish(page);
  blocks.release(page);
  EXPECT_EQ(blocks.acquire(key_of(1)), -1);
  EXPECT_EQ(blocks.free_pages(), 2);
}

TEST(BlockManager, ASecondPageOfTheSameKeyStaysPrivate) {
  BlockManager blocks(2);
  const int32_t first = blocks.allocate(), second = blocks.allocate();
  blocks.publish(first, key_of(1));
  blocks.publish(second, key_of(1));
  blocks.release(second);
  EXPECT_EQ(blocks.free_pages(), 1);
  EXPECT_EQ(blocks.acquire(key_of(1)), first);
}

// Random use against a plain map.
TEST(BlockManager, AgreesWithAMapUnderRandomUse) {
  std::mt19937 random(1);
  BlockManager blocks(24);
  std::map<int32_t, int> users;    // page -> count
  std::map<int32_t, int> content;  // page -> key, published pages
  for (int step = 0; step < 20000; ++step) {
    const int number = static_cast<int>(random() % 40);
    const Digest key = key_of(number);
    const int action = static_cast<int>(random() % 4);
    if (action == 0) {
      const int32_t page = blocks.allocate();
      ASSERT_EQ(page < 0, users.size() == 24);
      if (page < 0) continue;
      ASSERT_EQ(users.count(page), 0u);
      users[page] = 1;
      content.erase(page);
    } else if (action == 1) {
      const int32_t page = blocks.acquire(key);
      if (page < 0) {
        for (const auto& [p, k] : content) ASSERT_NE(k, number);
      } else {
        ASSERT_EQ(content.at(page), number);
        ++users[page];
      }
    } else if (!users.empty()) {
      const auto it = std::next(users.begin(), static_cast<long>(random() % users.size()));
      if (action == 2) {
        const bool known = blocks.find(key) != BlockManager::Presence::kAbsent;
        blocks.publish(it->first, key);
        if (!known && content.count(it->first) == 0) content[it->first] = number;
      } else {
        blocks.release(it->first);
        if (--it->second == 0) users.erase(it);
      }
    }
    ASSERT_EQ(blocks.used_pages(), static_cast<int>(users.size()));
    ASSERT_TRUE(blocks.consistent());
  }
}

}  // namespace
}  // namespace chorus
