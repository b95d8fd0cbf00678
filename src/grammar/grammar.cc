#include "grammar/grammar.h"

#include <algorithm>
#include <utility>

namespace chorus {
namespace {

constexpr uint32_t kLastCodepoint = 0x10FFFF, kFirstSurrogate = 0xD800, kLastSurrogate = 0xDFFF;

// Sorted and disjoint; neighbours are joined.
std::vector<CodepointRange> normalized(std::vector<CodepointRange> ranges) {
  std::ranges::sort(ranges, {}, &CodepointRange::first);
  std::vector<CodepointRange> joined;
  for (const CodepointRange& range : ranges) {
    if (range.first > range.last || range.first > kLastCodepoint) continue;
    const uint32_t last = std::min(range.last, kLastCodepoint);
    if (!joined.empty() && range.first <= joined.back().last + 1) {
      joined.back().last = std::max(joined.back().last, last);
    } else {
      joined.push_back({range.first, last});
    }
  }
  return joined;
}

std::vector<CodepointRange> complement(const std::vector<CodepointRange>& ranges) {
  std::vector<CodepointRange> rest;
  uint32_t next = 0;
  for (const CodepointRange& range : ranges) {
    if (range.first > next) rest.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLastCodepoint) rest.push_back({next, kLastCodepoint});
  return rest;
}

std::vector<CodepointRange> without_surrogates(const std::vector<CodepointRange>& ranges) {
  std::vector<CodepointRange> rest;
  for (const CodepointRange& range : ranges) {
    if (range.first < kFirstSurrogate)
      rest.push_back({range.first, std::min(range.last, kFirstSurrogate - 1)});
    if (range.last > kLastSurrogate) rest.push_back({std::max(range.first, kLastSurrogate + 1), range.last});
  }
  return rest;
}

}  // namespace

ExprId Grammar::add(Expr expr) {
  exprs_.push_back(std::move(expr));
  return static_cast<ExprId>(exprs_.size() - 1);
}

ExprId Grammar::literal(std::string_view bytes) {
  return add({.kind = Kind::kLiteral, .literal = std::string(bytes)});
}

ExprId Grammar::char_class(std::vector<CodepointRange> ranges, bool negated) {
  std::vector<CodepointRange> set = normalized(std::move(ranges));
  if (negated) set = complement(set);
  return add({.kind = Kind::kCharClass, .ranges = without_surrogates(set)});
}

ExprId Grammar::sequence(std::vector<ExprId> parts) {
  if (parts.size() == 1) return parts[0];
  return add({.kind = Kind::kSequence, .parts = std::move(parts)});
}

ExprId Grammar::choice(std::vector<ExprId> parts) {
  if (parts.size() == 1) return parts[0];
  return add({.kind = Kind::kChoice, .parts = std::move(parts)});
}

ExprId Grammar::repeat(ExprId part, int min, int max) {
  return add({.kind = Kind::kRepeat, .parts = {part}, .min = min, .max = max});
}

ExprId Grammar::reference(RuleId rule) { return add({.kind = Kind::kRule, .rule = rule}); }

RuleId Grammar::add_rule(std::string name) {
  rules_.push_back({std::move(name), -1});
  return static_cast<RuleId>(rules_.size() - 1);
}

void Grammar::define(RuleId rule, ExprId body) { rules_[static_cast<size_t>(rule)].body = body; }

}  // namespace chorus
