#pragma once

// What all tiles know of a strip.

#include "kernels/cpu/leaves.h"

namespace chorus {
namespace {

constexpr int kGroupsPerBlock = kBlockCols / kGroupCols;
constexpr int kChains = 4;
// Few rows stream a strip once, from memory: what the hardware fetches ahead by itself reached 0.7 of the
// read bandwidth of one core, this 0.8 to 0.86.
constexpr int kPrefetchBytes = 2304;

// The zero point of int8 weights is 128, where QuantizedRows::starts are for one of 8.
constexpr int kQ8StartShift = 4;

// Start of a rectangle's strip.
const std::byte* strip_at(const MatmulArgs& args, int strip) {
  return args.strips + args.strip_bytes * static_cast<size_t>(strip);
}

// Rows, and lanes, that a strip has.
int width_of(const MatmulArgs& args, int strip) {
  const int left = args.columns - strip * kStripRows;
  return left < kStripRows ? left : kStripRows;
}

// Groups of a row of x.
int64_t x_groups(const MatmulArgs& args) {
  return (args.x_cols + kBlockCols - 1) / kBlockCols * kGroupsPerBlock;
}

// The parts of a block of 64 columns of a quantized strip.
template <bool kQ8, bool kHasMin>
struct QuantizedBlock {
  static constexpr int kScaleBytes = 2 * kStripRows;  // of one group
  static constexpr int kGroupBytes = kStripRows * kGroupCols / (kQ8 ? 1 : 2);
  static constexpr int kHeaderBytes = kScaleBytes * kGroupsPerBlock * (kHasMin ? 2 : 1);
  static constexpr int kBlockBytes = kHeaderBytes + kGroupBytes * kGroupsPerBlock;
  static constexpr int kZeroPoint = kHasMin ? 0 : kQ8 ? 128 : 8;

  // The first block of a rectangle's columns.
  static const std::byte* first(const MatmulArgs& args, int strip) {
    return strip_at(args, strip) + args.k_begin / kBlockCols * kBlockBytes;
  }

  static void prefetch(const std::byte* block) {
#pragma GCC unroll 32
    for (int line = 0; line < kBlockBytes / 64; ++line) __builtin_prefetch(block + line * 64);
  }
};

// Rows of u, quantized: the input of a kQ8Short strip, of which it has the groups in order.
constexpr int kExpandRows = 8;
struct ShrunkRows {
  alignas(64) int8_t quants[kExpandRows][kMaxRank];
  float scales[kExpandRows][kMaxRank / kGroupCols];
  int32_t starts[kExpandRows][kMaxRank / kGroupCols];
  float sums[kExpandRows][kMaxRank / kGroupCols];  // of no use here
};

// One group of a kQ8Short strip.
struct ShortGroup {
  const std::byte *scales, *weights;
  int lines;  // of 64 bytes: 4 columns of 16 rows each

  ShortGroup(const std::byte* strip, int group, int cols) {
    using Block = QuantizedBlock<true, false>;
    const int in_block = group % kGroupsPerBlock, left = (cols - group * kGroupCols + 3) / 4;
    const std::byte* block = strip + group / kGroupsPerBlock * Block::kBlockBytes;
    scales = block + in_block * Block::kScaleBytes;
    weights = block + Block::kHeaderBytes + in_block * Block::kGroupBytes;
    lines = left < kGroupCols / 4 ? left : kGroupCols / 4;
  }
};

}  // namespace
}  // namespace chorus
