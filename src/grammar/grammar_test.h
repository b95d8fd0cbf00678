#pragma once

// For the tests: a plain matcher of grammars, and answers walked through constraints token by token.

#include <chrono>
#include <map>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/utf8.h"
#include "grammar/constraint.h"

namespace chorus {

// Whether a grammar holds a text, by trying everything; nothing of the automaton is used.
class PlainMatcher {
 public:
  explicit PlainMatcher(const Grammar& grammar) : grammar_(grammar) {}
  bool matches(std::string_view text) {
    text_ = text;
    known_.clear();
    return ends(grammar_.root(), 0).contains(text.size());
  }

 private:
  using Ends = std::set<size_t>;

  Ends ends(ExprId id, size_t begin) {
    const auto key = std::pair(id, begin);
    if (const auto found = known_.find(key); found != known_.end()) return found->second;
    const Ends result = find_ends(grammar_.expr(id), begin);
    known_[key] = result;
    return result;
  }

  Ends find_ends(const Grammar::Expr& expr, size_t begin) {
    switch (expr.kind) {
      case Grammar::Kind::kLiteral:
        return text_.substr(begin).starts_with(expr.literal) ? Ends{begin + expr.literal.size()} : Ends{};
      case Grammar::Kind::kCharClass:
        return class_ends(expr, begin);
      case Grammar::Kind::kSequence: {
        Ends at = {begin};
        for (const ExprId part : expr.parts) at = all_ends(part, at);
        return at;
      }
      case Grammar::Kind::kChoice: {
        Ends found;
        for (const ExprId part : expr.parts) found.merge(ends(part, begin));
        return found;
      }
      case Grammar::Kind::kRepeat:
        return repeat_ends(expr, begin);
      case Grammar::Kind::kRule:
        return ends(grammar_.body(expr.rule), begin);
    }
    return {};
  }

  Ends class_ends(const Grammar::Expr& expr, size_t begin);
  Ends all_ends(ExprId part, const Ends& begins) {
    Ends found;
    for (const size_t begin : begins) found.merge(ends(part, begin));
    return found;
  }
  Ends repeat_ends(const Grammar::Expr& expr, size_t begin) {
    Ends at = {begin}, found;
    if (expr.min == 0) found = at;
    // After as many rounds as there are bytes left, another round only repeats what is known.
    const int rounds = expr.min + static_cast<int>(text_.size()) + 1;
    for (int i = 1; i <= rounds && (expr.max < 0 || i <= expr.max) && !at.empty(); ++i) {
      at = all_ends(expr.parts[0], at);
      if (i >= expr.min) found.insert(at.begin(), at.end());
    }
    return found;
  }

  const Grammar& grammar_;
  std::string_view text_;
  std::map<std::pair<ExprId, size_t>, Ends> known_;
};

inline PlainMatcher::Ends PlainMatcher::class_ends(const Grammar::Expr& expr, size_t begin) {
  if (begin == text_.size()) return {};
  const Utf8Char c = decode_utf8(text_.substr(begin));
  for (const CodepointRange& range : expr.ranges) {
    if (c.valid && c.code_point >= range.first && c.code_point <= range.last) return {begin + c.length};
  }
  return {};
}

inline bool allowed(std::span<const uint64_t> mask, int32_t token) {
  return (mask[static_cast<size_t>(token) / 64] >> (token % 64) & 1) != 0;
}

// False: not within ten seconds.
inline bool wait_ready(const ConstraintState& state) {
  for (int i = 0; i < 100'000; ++i) {
    if (state.ready()) return true;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return false;
}

}  // namespace chorus
