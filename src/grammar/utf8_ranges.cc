#include "grammar/utf8_ranges.h"

#include <algorithm>
#include <string>

#include "base/utf8.h"

namespace chorus {
namespace {

// first and last have forms of one length and differ, from some byte on, in whole blocks only.
ByteRanges byte_ranges(uint32_t first, uint32_t last) {
  std::string low, high;
  append_utf8(low, first);
  append_utf8(high, last);
  ByteRanges ranges;
  ranges.size = static_cast<int>(low.size());
  for (size_t i = 0; i < low.size(); ++i)
    ranges.bytes[i] = {static_cast<uint8_t>(low[i]), static_cast<uint8_t>(high[i])};
  return ranges;
}

// The last code point up to which a range from `first` on is one ByteRanges.
uint32_t end_of_piece(uint32_t first, uint32_t last) {
  for (const uint32_t longest : {0x7Fu, 0x7FFu, 0xFFFFu}) {
    if (first <= longest) {
      last = std::min(last, longest);
      break;
    }
  }
  if (last <= 0x7F) return last;
  // Blocks of 2^6, 2^12 and 2^18 code points share all but their last 1, 2 and 3 bytes.
  for (int shift = 6; shift <= 18; shift += 6) {
    const uint32_t mask = (1u << shift) - 1;
    if ((first & ~mask) == (last & ~mask)) break;
    if ((first & mask) != 0) return first | mask;          // the rest of a block that begins within
    if ((last & mask) != mask) last = (last & ~mask) - 1;  // whole blocks only
  }
  return last;
}

}  // namespace

std::vector<ByteRanges> utf8_ranges(const std::vector<CodepointRange>& ranges) {
  std::vector<ByteRanges> pieces;
  for (const CodepointRange& range : ranges) {
    for (uint32_t first = range.first; first <= range.last;) {
      const uint32_t last = end_of_piece(first, range.last);
      pieces.push_back(byte_ranges(first, last));
      first = last + 1;
    }
  }
  return pieces;
}

}  // namespace chorus
