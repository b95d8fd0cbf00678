#include "random_text.h"

#include <algorithm>
#include <limits>

#include "base/utf8.h"

namespace chorus {
namespace {

constexpr int kDepth = 12;  // where the shortest ways begin
constexpr double kNever = std::numeric_limits<double>::infinity();
using Kind = Grammar::Kind;

size_t at(ExprId id) { return static_cast<size_t>(id); }

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

}  // namespace chorus
