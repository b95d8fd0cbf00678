#include "grammar/token_trie.h"

#include <algorithm>

namespace chorus {
namespace {

constexpr size_t kMaxTokenBytes = 4096;  // no real token comes near

size_t common_prefix(std::string_view a, std::string_view b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

}  // namespace

TokenTrie::TokenTrie(const Tokenizer& tokenizer, std::span<const int32_t> stop_ids) {
  const int32_t vocab = tokenizer.vocab_size();
  begins_.push_back(0);
  std::vector<int32_t> order;
  for (int32_t id = 0; id < vocab; ++id) {
    if (!tokenizer.is_special(id) && std::ranges::find(stop_ids, id) == stop_ids.end()) {
      const std::string bytes = tokenizer.token_bytes(id);
      if (bytes.size() <= kMaxTokenBytes) texts_ += bytes;
    }
    begins_.push_back(texts_.size());
    if (!text(id).empty()) order.push_back(id);
  }
  std::ranges::sort(order,
                    [&](int32_t a, int32_t b) { return text(a) != text(b) ? text(a) < text(b) : a < b; });

  std::vector<uint32_t> path;  // places from the root to the last one
  std::string_view previous;
  for (const int32_t id : order) {
    const std::string_view bytes = text(id);
    const size_t shared = common_prefix(previous, bytes);
    for (; path.size() > shared; path.pop_back())
      places_[path.back()].end = static_cast<uint32_t>(places_.size());
    for (size_t i = shared; i < bytes.size(); ++i) {
      const auto byte = static_cast<uint8_t>(bytes[i]);
      const auto tokens = static_cast<uint32_t>(ids_.size());
      usable_[byte] = true;
      path.push_back(static_cast<uint32_t>(places_.size()));
      places_.push_back({byte, static_cast<uint16_t>(i + 1), 0, tokens, tokens});
    }
    ids_.push_back(id);
    places_[path.back()].tokens_end = static_cast<uint32_t>(ids_.size());
    max_depth_ = std::max(max_depth_, static_cast<int>(bytes.size()));
    previous = bytes;
  }
  for (const uint32_t place : path) places_[place].end = static_cast<uint32_t>(places_.size());
}

}  // namespace chorus
