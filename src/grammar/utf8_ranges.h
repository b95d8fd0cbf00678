#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "grammar/grammar.h"

namespace chorus {

struct ByteRange {
  uint8_t low = 0, high = 0;
  bool operator==(const ByteRange&) const = default;
};

// Texts of 1 to 4 bytes, each byte in its range.
struct ByteRanges {
  std::array<ByteRange, 4> bytes{};
  int size = 0;
};

// The UTF-8 forms of a set of code points (sorted, disjoint, no surrogates), in order of the bytes. Of two,
// the ranges at the first place where they differ are disjoint.
std::vector<ByteRanges> utf8_ranges(const std::vector<CodepointRange>& ranges);

}  // namespace chorus
