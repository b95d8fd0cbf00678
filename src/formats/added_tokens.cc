#include "formats/added_tokens.h"

#include <algorithm>

#include "base/utf8.h"
#include "formats/unicode.h"

namespace chorus {

void AddedTokenMatcher::add(std::string_view pattern, const AddedToken& token) {
  uint32_t node = 0;
  for (const char c : pattern) {
    uint32_t& child = children_[uint64_t{node} << 8 | static_cast<unsigned char>(c)];
    if (child == 0) {
      child = static_cast<uint32_t>(ends_.size());
      ends_.push_back(-1);
    }
    node = child;
  }
  ends_[node] = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
  begins_[static_cast<unsigned char>(pattern[0])] = true;
}

AddedTokenMatcher::Match AddedTokenMatcher::longest_at(std::string_view text, size_t begin) const {
  Match longest{-1, begin};
  uint32_t node = 0;
  for (size_t i = begin; i < text.size(); ++i) {
    const uint32_t* child = children_.find(uint64_t{node} << 8 | static_cast<unsigned char>(text[i]));
    if (child == nullptr) break;
    node = *child;
    if (ends_[node] >= 0) longest = {ends_[node], i + 1};
  }
  return longest;
}

bool AddedTokenMatcher::accepts(const AddedToken& token, std::string_view text, size_t begin,
                                size_t end) const {
  if (!token.single_word) return true;
  if (begin > 0 && is_word(last_code_point(text.substr(0, begin)))) return false;
  return end == text.size() || !is_word(decode_utf8(text.substr(end)).code_point);
}

std::vector<AddedTokenMatcher::Fragment> AddedTokenMatcher::split(std::string_view text, bool special) const {
  std::vector<Fragment> fragments;
  size_t done = 0;
  for (size_t i = 0; i < text.size();) {
    if (!begins_[static_cast<unsigned char>(text[i])]) {
      ++i;
      continue;
    }
    const Match match = longest_at(text, i);
    if (match.token < 0) {
      ++i;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(match.token)];
    size_t begin = i;
    size_t end = match.end;
    i = end;  // also past a match that is not taken, as `tokenizers` does
    if ((token.special && !special) || !accepts(token, text, begin, end)) continue;
    if (token.lstrip) begin -= white_space_suffix(text.substr(done, begin - done));
    if (token.rstrip) end += white_space_prefix(text.substr(end));
    if (done < begin) fragments.push_back({-1, done, begin});
    fragments.push_back({token.id, begin, end});
    done = i = end;
  }
  if (done < text.size()) fragments.push_back({-1, done, text.size()});
  return fragments;
}

}  // namespace chorus
