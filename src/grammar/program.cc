#include "grammar/program.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "base/error.h"
#include "grammar/utf8_ranges.h"

namespace chorus {
namespace {

// Writes the network: every expression between a node of its own, its entry, and the node behind it.
class Lowering {
 public:
  Lowering(const Grammar& grammar, size_t max_bytes, WorkBudget& budget)
      : grammar_(grammar),
        max_bytes_(max_bytes),
        budget_(budget),
        uses_(count_uses(grammar)),
        shared_entries_(grammar.exprs(), kNoNode),
        rule_entries_(grammar.rules(), kNoNode) {}

  std::vector<NodeId> run(Program& program) {
    program_ = &program;
    program.start = new_node();
    return_ = new_node();
    node(return_).kind = Node::Kind::kReturn;
    tasks_.push_back({grammar_.root(), program.start, return_});
    while (!tasks_.empty()) {
      const Task task = tasks_.back();
      tasks_.pop_back();
      budget_.spend(1);
      lower_expr(task);
      if (program.bytes() > max_bytes_) fail("the grammar needs more than {} MiB", max_bytes_ >> 20);
    }
    return std::move(rule_entries_);
  }

 private:
  struct Task {
    ExprId expr;
    NodeId entry, next;
  };

  static std::vector<int> count_uses(const Grammar& grammar) {
    std::vector<int> uses(grammar.exprs());
    for (size_t i = 0; i < grammar.exprs(); ++i) {
      for (const ExprId part : grammar.expr(static_cast<ExprId>(i)).parts) ++uses[static_cast<size_t>(part)];
    }
    return uses;
  }

  Node& node(NodeId id) { return program_->nodes[id]; }
  NodeId new_node() {
    program_->nodes.emplace_back();
    return static_cast<NodeId>(program_->nodes.size() - 1);
  }

  void set_split(NodeId id, std::span<const NodeId> targets) {
    const auto begin = static_cast<uint32_t>(program_->targets.size());
    program_->targets.insert(program_->targets.end(), targets.begin(), targets.end());
    node(id) = {
        .kind = Node::Kind::kSplit, .begin = begin, .end = begin + static_cast<uint32_t>(targets.size())};
  }
  void set_split(NodeId id, std::initializer_list<NodeId> targets) {
    set_split(id, std::span(targets.begin(), targets.size()));
  }
  void set_bytes(NodeId id, std::span<const ByteEdge> edges) {
    const auto begin = static_cast<uint32_t>(program_->edges.size());
    program_->edges.insert(program_->edges.end(), edges.begin(), edges.end());
    node(id) = {
        .kind = Node::Kind::kBytes, .begin = begin, .end = begin + static_cast<uint32_t>(edges.size())};
  }

  void lower_expr(const Task& task) {
    const Grammar::Expr& expr = grammar_.expr(task.expr);
    const bool compound = expr.kind == Grammar::Kind::kSequence || expr.kind == Grammar::Kind::kChoice ||
                          expr.kind == Grammar::Kind::kRepeat;
    // What is used in several places is there once, or a few shared levels would unfold to 2^levels.
    if (compound && uses_[static_cast<size_t>(task.expr)] > 1) {
      NodeId& body = shared_entries_[static_cast<size_t>(task.expr)];
      if (body == kNoNode) {
        body = new_node();
        lower_plain(expr, {task.expr, body, return_});
      }
      set_call(task.entry, body, task.next);
    } else {
      lower_plain(expr, task);
    }
  }

  void lower_plain(const Grammar::Expr& expr, const Task& task) {
    switch (expr.kind) {
      case Grammar::Kind::kLiteral:
        return lower_literals(std::vector<std::string_view>{expr.literal}, task);
      case Grammar::Kind::kCharClass:
        return lower_class(expr, task);
      case Grammar::Kind::kSequence:
        return lower_sequence(expr, task);
      case Grammar::Kind::kChoice:
        return lower_choice(expr, task);
      case Grammar::Kind::kRepeat:
        return lower_repeat(expr, task);
      case Grammar::Kind::kRule:
        return lower_rule(expr.rule, task);
    }
  }

  void set_call(NodeId id, NodeId body, NodeId next) {
    node(id) = {.kind = Node::Kind::kCall, .body = body, .next = next};
  }

  void lower_rule(RuleId rule, const Task& task) {
    NodeId& entry = rule_entries_[static_cast<size_t>(rule)];
    if (entry == kNoNode) {
      if (grammar_.body(rule) < 0)
        fail("grammar: rule \"{}\" is not defined", printable(grammar_.name(rule)));
      entry = new_node();
      tasks_.push_back({grammar_.body(rule), entry, return_});
    }
    set_call(task.entry, entry, task.next);
  }

  void lower_sequence(const Grammar::Expr& expr, const Task& task) {
    if (expr.parts.empty()) return set_split(task.entry, {task.next});
    NodeId entry = task.entry;
    for (size_t i = 0; i < expr.parts.size(); ++i) {
      const NodeId next = i + 1 == expr.parts.size() ? task.next : new_node();
      tasks_.push_back({expr.parts[i], entry, next});
      entry = next;
    }
  }

  void lower_choice(const Grammar::Expr& expr, const Task& task) {
    std::vector<std::string_view> literals;
    std::vector<NodeId> targets;
    for (const ExprId part : expr.parts) {
      if (grammar_.expr(part).kind == Grammar::Kind::kLiteral) {
        literals.push_back(grammar_.expr(part).literal);
      } else {
        targets.push_back(new_node());
        tasks_.push_back({part, targets.back(), task.next});
      }
    }
    if (targets.empty() && !literals.empty()) return lower_literals(std::move(literals), task);
    if (!literals.empty()) {
      targets.push_back(new_node());
      lower_literals(std::move(literals), {task.expr, targets.back(), task.next});
    }
    set_split(task.entry, targets);
  }

  void lower_repeat(const Grammar::Expr& expr, const Task& task) {
    const ExprId part = expr.parts[0];
    if (expr.max == 0) return set_split(task.entry, {task.next});
    if (expr.min == 1 && expr.max == 1) return tasks_.push_back({part, task.entry, task.next});
    if (expr.min == 1 && expr.max < 0) {
      const NodeId again = new_node();
      set_split(again, {task.entry, task.next});
      return tasks_.push_back({part, task.entry, again});
    }
    const NodeId body = new_node();
    if (expr.min == 0 && (expr.max == 1 || expr.max < 0)) {
      set_split(task.entry, {body, task.next});
      return tasks_.push_back({part, body, expr.max == 1 ? task.next : task.entry});
    }
    node(task.entry) = {
        .kind = Node::Kind::kRepeat, .body = body, .next = task.next, .min = expr.min, .max = expr.max};
    tasks_.push_back({part, body, return_});
  }

  // A trie of the literals.
  void lower_literals(std::vector<std::string_view> literals, const Task& task) {
    struct Group {
      size_t begin, end, depth;
      NodeId node;
    };
    std::ranges::sort(literals);
    literals.erase(std::unique(literals.begin(), literals.end()), literals.end());
    std::vector<Group> groups = {{0, literals.size(), 0, task.entry}};
    std::vector<ByteEdge> edges;
    while (!groups.empty()) {
      const Group group = groups.back();
      groups.pop_back();
      budget_.spend(group.end - group.begin);
      edges.clear();
      size_t begin = group.begin;
      const bool ends_here = literals[begin].size() == group.depth;
      if (ends_here) ++begin;
      while (begin < group.end) {
        const char byte = literals[begin][group.depth];
        size_t end = begin + 1;
        while (end < group.end && literals[end][group.depth] == byte) ++end;
        NodeId target = task.next;
        if (end - begin > 1 || literals[begin].size() > group.depth + 1) {
          target = new_node();
          groups.push_back({begin, end, group.depth + 1, target});
        }
        edges.push_back({static_cast<uint8_t>(byte), static_cast<uint8_t>(byte), target});
        begin = end;
      }
      if (!ends_here) {
        set_bytes(group.node, edges);
      } else if (edges.empty()) {
        set_split(group.node, {task.next});
      } else {
        const NodeId more = new_node();
        set_bytes(more, edges);
        set_split(group.node, {task.next, more});
      }
    }
  }

  void lower_class(const Grammar::Expr& expr, const Task& task) {
    const std::vector<ByteRanges> pieces = utf8_ranges(expr.ranges);
    budget_.spend(pieces.size());
    set_bytes(task.entry, class_edges(pieces, 0, task.next));
  }

  // Pieces share their first `depth` bytes; at most 4 levels.
  std::vector<ByteEdge> class_edges(std::span<const ByteRanges> pieces, size_t depth, NodeId next) {
    std::vector<ByteEdge> edges;
    for (size_t begin = 0; begin < pieces.size();) {
      const ByteRange range = pieces[begin].bytes[depth];
      size_t end = begin + 1;
      while (end < pieces.size() && pieces[end].bytes[depth] == range) ++end;
      const bool last = static_cast<size_t>(pieces[begin].size) == depth + 1;
      const NodeId target =
          last ? next : bytes_node(class_edges(pieces.subspan(begin, end - begin), depth + 1, next));
      if (!edges.empty() && edges.back().target == target && edges.back().high + 1 == range.low) {
        edges.back().high = range.high;
      } else {
        edges.push_back({range.low, range.high, target});
      }
      begin = end;
    }
    return edges;
  }

  // Equal nodes within classes are one.
  NodeId bytes_node(const std::vector<ByteEdge>& edges) {
    const auto [entry, added] = class_nodes_.try_emplace(edges, NodeId{0});
    if (added) {
      entry->second = new_node();
      set_bytes(entry->second, edges);
    }
    return entry->second;
  }

  const Grammar& grammar_;
  const size_t max_bytes_;
  WorkBudget& budget_;
  std::vector<int> uses_;
  std::vector<NodeId> shared_entries_, rule_entries_;
  Program* program_ = nullptr;
  NodeId return_ = 0;
  std::vector<Task> tasks_;
  std::map<std::vector<ByteEdge>, NodeId> class_nodes_;
};

}  // namespace

Program lower(const Grammar& grammar, const std::array<bool, 256>& usable, size_t max_bytes,
              WorkBudget& budget) {
  Program program;
  const std::vector<NodeId> rule_entries = Lowering(grammar, max_bytes, budget).run(program);
  finish_program(program, grammar, rule_entries, usable, budget);
  return program;
}

}  // namespace chorus
