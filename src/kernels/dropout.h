#pragma once

#include <cstdint>

namespace chorus {

// What the hash of a row's columns starts with (dropout_keeps()): two words of key and row key together.
struct DropoutSeed {
  uint32_t add, flip;
};

constexpr uint64_t mix_bits(uint64_t x) {  // the finalizer of SplitMix64
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

constexpr DropoutSeed dropout_seed(uint64_t key, uint64_t row_key) {
  const uint64_t bits = mix_bits(mix_bits(key + 0x9E3779B97F4A7C15u) + row_key);
  return {static_cast<uint32_t>(bits), static_cast<uint32_t>(bits >> 32)};
}

// 32 bits of a column: a multiplication spreads neighbours, then the finalizer of MurmurHash3. The
// instruction sets have the same in 16 lanes.
constexpr uint32_t kColumnStep = 0x9E3779B9u, kMix1 = 0x85EBCA6Bu, kMix2 = 0xC2B2AE35u;
constexpr uint32_t dropout_hash(DropoutSeed seed, uint32_t column) {
  uint32_t x = (column * kColumnStep + seed.add) ^ seed.flip;
  x = (x ^ x >> 16) * kMix1;
  x = (x ^ x >> 13) * kMix2;
  return x ^ x >> 16;
}

}  // namespace chorus
