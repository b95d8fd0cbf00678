#include "base/process_memory.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/buffer.h"

namespace chorus {
namespace {

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

}  // namespace
}  // namespace chorus
