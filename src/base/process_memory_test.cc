#include "base/process_memory.h"

#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <vector>

#include "base/buffer.h"

namespace chorus {
namespace {

size_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  size_t size = 0, resident = 0;
  statm >> size >> resident;
  return resident * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

TEST(ProcessMemory, PeakSeesWhatWasGivenBackUntilItIsReset) {
  constexpr size_t kBytes = size_t{256} << 20;
  reset_peak_resident();
  const size_t before = peak_resident_bytes();
  const size_t resident_before = resident_bytes();
  {
    Buffer<std::byte> buffer(kBytes);
    std::memset(buffer.data(), 1, kBytes);
    asm volatile("" : : "r"(buffer.data()) : "memory");
    EXPECT_GE(resident_bytes(), resident_before + kBytes * 9 / 10);
  }
  const size_t peak = peak_resident_bytes();
  EXPECT_GE(peak, before + kBytes * 9 / 10);
  reset_peak_resident();
  if (peak_resident_bytes() == peak) GTEST_SKIP() << "this system does not let a process reset its peak";
  EXPECT_LT(peak_resident_bytes(), peak);
}

// Small blocks come from the heap, which does not shrink below one that is still in use.
TEST(ProcessMemory, FreedBlocksGoBackToTheSystem) {
  constexpr size_t kBlock = size_t{32} << 10, kBytes = size_t{128} << 20;
  std::vector<Buffer<std::byte>> blocks;
  for (size_t i = 0; i < kBytes / kBlock; ++i) {
    blocks.emplace_back(kBlock);
    std::memset(blocks.back().data(), 1, kBlock);
  }
  blocks.erase(blocks.begin(), blocks.end() - 1);
  if (mallinfo2().fordblks < kBytes / 2) GTEST_SKIP() << "another allocator than the C library's";
  const size_t before = resident_bytes();
  return_freed_memory();
  EXPECT_LT(resident_bytes() + kBytes / 2, before);
}

}  // namespace
}  // namespace chorus
