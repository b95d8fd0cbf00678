#include "grammar/grammar_prune.h"

#include <algorithm>
#include <utility>

namespace chorus {
namespace {

using Kind = Grammar::Kind;

size_t at(ExprId id) { return static_cast<size_t>(id); }

// Which expressions some text matches: each is looked at again when one of its parts turns out to be.
class Productive {
 public:
  explicit Productive(const Grammar& grammar)
      : grammar_(grammar), missing_(grammar.exprs()), found_(grammar.exprs()), users_(grammar.exprs()) {
    std::vector<std::vector<ExprId>> references(grammar.rules());
    for (size_t i = 0; i < grammar.exprs(); ++i) {
      const auto id = static_cast<ExprId>(i);
      const Grammar::Expr& expr = grammar.expr(id);
      for (const ExprId part : expr.parts) users_[at(part)].push_back(id);
      if (expr.kind == Kind::kRule) references[at(expr.rule)].push_back(id);
      missing_[i] = expr.parts.size();
    }
    for (size_t rule = 0; rule < grammar.rules(); ++rule) {
      const ExprId body = grammar.body(static_cast<RuleId>(rule));
      if (body < 0) continue;
      users_[at(body)].insert(users_[at(body)].end(), references[rule].begin(), references[rule].end());
    }
    for (size_t i = 0; i < grammar.exprs(); ++i) {
      if (from_nothing(grammar.expr(static_cast<ExprId>(i)))) mark(static_cast<ExprId>(i));
    }
    while (!work_.empty()) {
      const ExprId id = work_.back();
      work_.pop_back();
      for (const ExprId user : users_[at(id)]) {
        const bool waits = grammar_.expr(user).kind == Kind::kSequence && --missing_[at(user)] > 0;
        if (!waits) mark(user);
      }
    }
  }

  bool operator[](ExprId id) const { return found_[at(id)]; }

 private:
  static bool from_nothing(const Grammar::Expr& expr) {
    return expr.kind == Kind::kLiteral || (expr.kind == Kind::kCharClass && !expr.ranges.empty()) ||
           (expr.kind == Kind::kSequence && expr.parts.empty()) ||
           (expr.kind == Kind::kRepeat && expr.min == 0);
  }
  void mark(ExprId id) {
    if (found_[at(id)]) return;
    found_[at(id)] = true;
    work_.push_back(id);
  }

  const Grammar& grammar_;
  std::vector<size_t> missing_;
  std::vector<bool> found_;
  std::vector<std::vector<ExprId>> users_;
  std::vector<ExprId> work_;
};

std::vector<bool> reachable(const Grammar& grammar, ExprId root, const Productive& productive) {
  std::vector<bool> seen(grammar.exprs());
  std::vector<ExprId> work{root};
  seen[at(root)] = true;
  const auto reach = [&](ExprId id) {
    if (seen[at(id)] || !productive[id]) return;
    seen[at(id)] = true;
    work.push_back(id);
  };
  while (!work.empty()) {
    const Grammar::Expr& expr = grammar.expr(work.back());
    work.pop_back();
    for (const ExprId part : expr.parts) reach(part);
    if (expr.kind == Kind::kRule) reach(grammar.body(expr.rule));
  }
  return seen;
}

class Copy {
 public:
  Copy(const Grammar& from, Grammar& to, const Productive& productive)
      : from_(from), to_(to), productive_(productive), exprs_(from.exprs(), -1), rules_(from.rules(), -1) {}

  ExprId run(ExprId root) {
    const std::vector<bool> seen = reachable(from_, root, productive_);
    for (size_t i = 0; i < from_.exprs(); ++i) {
      if (seen[i]) exprs_[i] = copy(from_.expr(static_cast<ExprId>(i)));
    }
    for (size_t rule = 0; rule < from_.rules(); ++rule) {
      if (rules_[rule] >= 0) to_.define(rules_[rule], exprs_[at(from_.body(static_cast<RuleId>(rule)))]);
    }
    return exprs_[at(root)];
  }

 private:
  ExprId copy(const Grammar::Expr& expr) {
    std::vector<ExprId> parts;
    for (const ExprId part : expr.parts) {
      if (productive_[part]) parts.push_back(exprs_[at(part)]);
    }
    switch (expr.kind) {
      case Kind::kLiteral:
        return to_.literal(expr.literal);
      case Kind::kCharClass:
        return to_.char_class(expr.ranges);
      case Kind::kSequence:
        return to_.sequence(std::move(parts));
      case Kind::kChoice:
        return to_.choice(std::move(parts));
      case Kind::kRepeat:
        return parts.empty() ? to_.literal("") : to_.repeat(parts[0], expr.min, expr.max);
      case Kind::kRule:
        break;
    }
    RuleId& rule = rules_[at(expr.rule)];
    if (rule < 0) rule = to_.add_rule(from_.name(expr.rule));
    return to_.reference(rule);
  }

  const Grammar& from_;
  Grammar& to_;
  const Productive& productive_;
  std::vector<ExprId> exprs_;
  std::vector<RuleId> rules_;
};

}  // namespace

std::optional<ExprId> copy_productive(const Grammar& from, ExprId root, Grammar& to) {
  const Productive productive(from);
  if (!productive[root]) return std::nullopt;
  return Copy(from, to, productive).run(root);
}

}  // namespace chorus
