#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "formats/flat_map.h"

namespace chorus {

// A token that is cut out of the text before the model sees it (`tokenizers`' AddedToken).
struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool special = false;      // a control token, which decode leaves out
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and that after it
  bool single_word = false;  // only where no word character touches it
  bool normalized = false;   // looked for in the normalized text, not in the raw one
};

// Finds added tokens in a text, leftmost-longest, in one pass: a trie walked from each byte that begins a
// token, which the bound on a token's length makes linear.
class AddedTokenMatcher {
 public:
  static constexpr size_t kMaxBytes = 1024;  // of one pattern

  struct Fragment {
    int32_t id;  // -1: text without added tokens
    size_t begin;
    size_t end;
  };

  // `pattern` is the content as it is looked for, not empty. A pattern added twice stands for the later
  // token.
  void add(std::string_view pattern, const AddedToken& token);
  bool empty() const { return tokens_.empty(); }

  // The whole of `text` in fragments, none empty. Without `special`, special tokens are text.
  std::vector<Fragment> split(std::string_view text, bool special) const;

 private:
  struct Match {
    int32_t token;  // index into tokens_; -1: none
    size_t end;
  };
  Match longest_at(std::string_view text, size_t begin) const;
  bool accepts(const AddedToken& token, std::string_view text, size_t begin, size_t end) const;

  std::vector<AddedToken> tokens_;
  FlatMap<uint32_t> children_;        // node << 8 | byte -> node; the root is 0
  std::vector<int32_t> ends_ = {-1};  // by node: the token that ends here
  std::vector<bool> begins_ = std::vector<bool>(256);
};

}  // namespace chorus
