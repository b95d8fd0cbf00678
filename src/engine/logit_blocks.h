#pragma once

// Passes over a row of logits in blocks of 64, written as loops over lanes that any compiler turns into
// vector code. Every sum has one order, fixed by the length of the row.

#include <cstddef>
#include <cstdint>
#include <span>

namespace chorus {

constexpr size_t kLogitBlock = 64;

constexpr size_t logit_blocks(size_t vocab) { return (vocab + kLogitBlock - 1) / kLogitBlock; }

// The ids of a block.
struct BlockRange {
  size_t begin, end;
};
constexpr BlockRange block_range(size_t block, size_t vocab) {
  const size_t begin = block * kLogitBlock;
  return {begin, begin + kLogitBlock < vocab ? begin + kLogitBlock : vocab};
}

// The largest value of each block -> maxima [blocks]. Returns the largest of all; NaN if the row has a NaN or
// +infinity in it, or nothing finite.
float find_maxima(std::span<const float> row, std::span<float> maxima);

// sums[block] = sum of exp((x - max) / temperature) over the block, correct to about 1e-7; 0 for blocks whose
// maximum is below `from`. temperature > 0; max is the row's largest.
struct ExpBlocks {
  std::span<const float> row, maxima;
  float max = 0, temperature = 1, from = 0;
  std::span<float> weights = {};  // [blocks * 64] or empty: each exponential, 0 past the row's end
};
void exp_blocks(const ExpBlocks& args, std::span<float> sums);

// The sum of the blocks, in order.
double sum_blocks(std::span<const float> sums);

// Where a selection ends: what has a larger value, or the same value and no larger id, is in.
struct Cut {
  float value;
  int32_t id;
};

// Weights of what is outside the cut, or below min_weight, become 0; the sums follow.
void restrict_weights(std::span<const float> row, Cut cut, float min_weight, std::span<float> weights,
                      std::span<float> sums);

}  // namespace chorus
