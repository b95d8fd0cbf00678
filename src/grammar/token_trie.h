#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tokenizer.h"

namespace chorus {

// The texts of a vocabulary's tokens as a tree, written from the root on, depth first. Control tokens, stop
// ids and tokens without text are not in it.
class TokenTrie {
 public:
  struct Place {
    uint8_t byte = 0;
    uint16_t depth = 0;                   // 1: the first byte of a token
    uint32_t end = 0;                     // where the places below it end
    uint32_t tokens = 0, tokens_end = 0;  // of ids(): those whose text ends here
  };

  TokenTrie(const Tokenizer& tokenizer, std::span<const int32_t> stop_ids);

  std::span<const Place> places() const { return places_; }
  std::span<const int32_t> ids(const Place& place) const {
    return std::span(ids_).subspan(place.tokens, place.tokens_end - place.tokens);
  }
  // Empty for what is not in the tree.
  std::string_view text(int32_t id) const {
    const auto i = static_cast<size_t>(id);
    return std::string_view(texts_).substr(begins_[i], begins_[i + 1] - begins_[i]);
  }
  int32_t vocab() const { return static_cast<int32_t>(begins_.size()) - 1; }
  int max_depth() const { return max_depth_; }
  const std::array<bool, 256>& usable() const { return usable_; }  // the bytes that occur

 private:
  std::string texts_;
  std::vector<size_t> begins_;  // [vocab + 1]
  std::vector<Place> places_;
  std::vector<int32_t> ids_;
  std::array<bool, 256> usable_{};
  int max_depth_ = 0;
};

}  // namespace chorus
