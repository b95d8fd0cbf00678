#pragma once

#include <cstdint>

namespace chorus {
namespace {

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// All eight are 16 rows of 64 bytes.
void configure_tiles() {
  TileConfig config;
  for (int i = 0; i < 8; ++i) {
    config.rows[i] = 16;
    config.row_bytes[i] = 64;
  }
  asm volatile("ldtilecfg %0" : : "m"(config));
}

// The tile's number as a template argument, where the compiler's own intrinsics want it as a literal. Loads
// and stores are of 16 or fewer rows, `stride` bytes apart.
template <int kTile>
void tile_zero() {
  asm volatile("tilezero %%tmm%c0" : : "n"(kTile));
}
template <int kTile>
void tile_load(const void* from, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "n"(kTile) : "memory");
}
template <int kTile>
void tile_store(void* to, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "n"(kTile) : "memory");
}
// sums += rows of signed bytes times signed weights
template <int kSums, int kRows, int kWeights>
void tile_multiply_int8() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "n"(kSums), "n"(kRows), "n"(kWeights));
}
// sums += rows of bf16 times weights, in pairs
template <int kSums, int kRows, int kWeights>
void tile_multiply_bf16() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "n"(kSums), "n"(kRows), "n"(kWeights));
}
void tile_release() { asm volatile("tilerelease"); }

}  // namespace
}  // namespace chorus
