#include "grammar_oracle.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "base/utf8.h"

namespace chorus {
namespace {

constexpr int kDepth = 12;  // where the shortest ways begin
constexpr double kNever = std::numeric_limits<double>::infinity();
using Kind = Grammar::Kind;

size_t at(ExprId id) { return static_cast<size_t>(id); }

// The ends of all that an expression matches from a place on, remembered by both.
class Matcher {
 public:
  Matcher(const Grammar& grammar, std::string_view text) : grammar_(grammar), text_(text) {}

  const std::set<size_t>& ends(ExprId id, size_t from) {
    const auto [entry, added] = known_.try_emplace({id, from});
    if (!added) return entry->second;
    std::set<size_t> found = find(grammar_.expr(id), from);
    return known_[{id, from}] = std::move(found);
  }

 private:
  std::set<size_t> find(const Grammar::Expr& expr, size_t from) {
    switch (expr.kind) {
      case Kind::kLiteral:
        return text_.substr(from).starts_with(expr.literal) ? std::set{from + expr.literal.size()}
                                                            : std::set<size_t>{};
      case Kind::kCharClass:
        return one_character(expr, from);
      case Kind::kSequence: {
        std::set<size_t> places{from};
        for (const ExprId part : expr.parts) places = behind(part, places);
        return places;
      }
      case Kind::kChoice: {
        std::set<size_t> places;
        for (const ExprId part : expr.parts) places.merge(std::set(ends(part, from)));
        return places;
      }
      case Kind::kRepeat:
        return repeated(expr, from);
      case Kind::kRule:
        return ends(grammar_.body(expr.rule), from);
    }
    return {};
  }

  std::set<size_t> one_character(const Grammar::Expr& expr, size_t from) {
    if (from == text_.size()) return {};
    const Utf8Char character = decode_utf8(text_.substr(from));
    const bool in_class = std::ranges::any_of(expr.ranges, [&](CodepointRange range) {
      return range.first <= character.code_point && character.code_point <= range.last;
    });
    return character.valid && in_class ? std::set{from + character.length} : std::set<size_t>{};
  }

  std::set<size_t> behind(ExprId part, const std::set<size_t>& places) {
    std::set<size_t> result;
    for (const size_t place : places) result.merge(std::set(ends(part, place)));
    return result;
  }

  std::set<size_t> repeated(const Grammar::Expr& expr, size_t from) {
    std::set<size_t> places{from}, result;
    for (int count = 0; !places.empty() && (expr.max < 0 || count <= expr.max); ++count) {
      if (count >= expr.min) {
        const size_t before = result.size();
        result.insert(places.begin(), places.end());
        if (result.size() == before) break;  // the same places again
      }
      places = behind(expr.parts[0], places);
    }
    return result;
  }

  const Grammar& grammar_;
  std::string_view text_;
  std::map<std::pair<ExprId, size_t>, std::set<size_t>> known_;
};

}  // namespace

RandomText::RandomText(const Grammar& grammar, uint64_t seed)
    : grammar_(grammar), random_(seed), shortest_(grammar.exprs(), kNever) {
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = 0; i < grammar.exprs(); ++i) {
      const Grammar::Expr& expr = grammar.expr(static_cast<ExprId>(i));
      double steps = 1;
      if (expr.kind == Kind::kChoice) steps = kNever;
      for (const ExprId part : expr.parts) {
        const double of_part = shortest_[at(part)] + 1;
        if (expr.kind == Kind::kChoice) {
          steps = std::min(steps, of_part);
        } else if (expr.kind == Kind::kSequence) {
          steps += of_part;
        } else if (expr.min > 0) {
          steps += of_part * expr.min;
        }
      }
      if (expr.kind == Kind::kRule) steps += shortest_[at(grammar.body(expr.rule))];
      if (steps < shortest_[i]) {
        shortest_[i] = steps;
        changed = true;
      }
    }
  }
}

std::string RandomText::next() {
  std::string out;
  write(grammar_.root(), 0, out);
  return out;
}

void RandomText::write(ExprId id, int depth, std::string& out) {
  const Grammar::Expr& expr = grammar_.expr(id);
  switch (expr.kind) {
    case Kind::kLiteral:
      out += expr.literal;
      return;
    case Kind::kCharClass: {
      // Mostly of the first few, which are letters and digits; and the edges of a range before its middle.
      const size_t few = pick(3) == 0 ? expr.ranges.size() : std::min<size_t>(expr.ranges.size(), 3);
      const CodepointRange range = expr.ranges[pick(few)];
      const uint32_t span = pick(4) == 0 ? range.last - range.first : std::min(range.last - range.first, 90u);
      append_utf8(out, pick(8) == 0 ? range.last : range.first + static_cast<uint32_t>(pick(span + 1)));
      return;
    }
    case Kind::kSequence:
      for (const ExprId part : expr.parts) write(part, depth, out);
      return;
    case Kind::kChoice: {
      ExprId part = expr.parts[pick(expr.parts.size())];
      if (depth > kDepth || shortest_[at(part)] == kNever)
        part = *std::ranges::min_element(expr.parts, {}, [&](ExprId other) { return shortest_[at(other)]; });
      return write(part, depth, out);
    }
    case Kind::kRepeat: {
      size_t extra = depth > kDepth ? 0 : pick(pick(4) == 0 ? 12 : 3);
      if (expr.max >= 0) extra = std::min(extra, static_cast<size_t>(expr.max - expr.min));
      if (expr.max >= 0 && expr.max - expr.min < 70 && depth <= kDepth && pick(6) == 0)
        extra = static_cast<size_t>(expr.max - expr.min);
      for (size_t i = 0; i < static_cast<size_t>(expr.min) + extra; ++i) write(expr.parts[0], depth + 1, out);
      return;
    }
    case Kind::kRule:
      return write(grammar_.body(expr.rule), depth + 1, out);
  }
}

bool matches(const Grammar& grammar, std::string_view text) {
  return Matcher(grammar, text).ends(grammar.root(), 0).contains(text.size());
}

}  // namespace chorus
