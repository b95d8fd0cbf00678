#include <algorithm>
#include <vector>

#include "base/error.h"
#include "grammar/program.h"

namespace chorus {
namespace {

using Kind = Node::Kind;
using Flags = std::vector<bool>;

// The nodes that a node goes on at, whatever it takes.
template <typename Visit>
void for_each_successor(const Program& program, const Node& node, Visit visit) {
  for (const ByteEdge& edge :
       node.kind == Kind::kBytes ? program.edges_of(node) : std::span<const ByteEdge>())
    visit(edge.target);
  for (const NodeId target : node.kind == Kind::kSplit ? program.targets_of(node) : std::span<const NodeId>())
    visit(target);
  if (node.kind == Kind::kCall || node.kind == Kind::kRepeat) {
    visit(node.body);
    visit(node.next);
  }
}

// successors, turned round
struct Predecessors {
  std::vector<uint32_t> begins;
  std::vector<NodeId> nodes;

  explicit Predecessors(const Program& program) : begins(program.nodes.size() + 2) {
    for (const Node& node : program.nodes)
      for_each_successor(program, node, [&](NodeId to) { ++begins[to + 2]; });
    for (size_t i = 2; i < begins.size(); ++i) begins[i] += begins[i - 1];
    nodes.resize(begins.back());
    for (NodeId from = 0; from < program.nodes.size(); ++from)
      for_each_successor(program, program.nodes[from], [&](NodeId to) { nodes[begins[to + 1]++] = from; });
  }
};

// The least set of nodes that holds whatever `belongs(node, set)`, which only grows with the set.
template <typename Belongs>
Flags least_set(const Program& program, const Predecessors& predecessors, WorkBudget& budget,
                Belongs belongs) {
  Flags set(program.nodes.size());
  std::vector<NodeId> work;
  const auto look = [&](NodeId id) {
    budget.spend(1);
    if (set[id] || !belongs(program.nodes[id], set)) return;
    set[id] = true;
    work.push_back(id);
  };
  for (NodeId id = 0; id < program.nodes.size(); ++id) look(id);
  while (!work.empty()) {
    const NodeId id = work.back();
    work.pop_back();
    for (uint32_t i = predecessors.begins[id]; i < predecessors.begins[id + 1]; ++i)
      look(predecessors.nodes[i]);
  }
  return set;
}

bool edge_usable(const ByteEdge& edge, const std::array<bool, 256>& usable) {
  return std::any_of(usable.begin() + edge.low, usable.begin() + edge.high + 1, [](bool b) { return b; });
}

// What can reach the end of its body. `empty_too`: also what has no way at all to go.
Flags productive(const Program& program, const Predecessors& predecessors,
                 const std::array<bool, 256>& usable, bool empty_too, WorkBudget& budget) {
  return least_set(program, predecessors, budget, [&](const Node& node, const Flags& set) {
    switch (node.kind) {
      case Kind::kBytes:
        return (empty_too && node.begin == node.end) ||
               std::ranges::any_of(program.edges_of(node), [&](const ByteEdge& edge) {
                 return set[edge.target] && (empty_too || edge_usable(edge, usable));
               });
      case Kind::kSplit:
        return (empty_too && node.begin == node.end) ||
               std::ranges::any_of(program.targets_of(node), [&](NodeId target) { return set[target]; });
      case Kind::kCall:
        return set[node.body] && set[node.next];
      case Kind::kRepeat:
        return (node.min == 0 || set[node.body]) && set[node.next];
      case Kind::kReturn:
        return true;
    }
    return false;
  });
}

// What can reach the end of its body without a byte.
Flags nullable(const Program& program, const Predecessors& predecessors, WorkBudget& budget) {
  return least_set(program, predecessors, budget, [&](const Node& node, const Flags& set) {
    switch (node.kind) {
      case Kind::kBytes:
        return false;
      case Kind::kSplit:
        return std::ranges::any_of(program.targets_of(node), [&](NodeId target) { return set[target]; });
      case Kind::kCall:
        return set[node.body] && set[node.next];
      case Kind::kRepeat:
        return (node.min == 0 || set[node.body]) && set[node.next];
      case Kind::kReturn:
        return true;
    }
    return false;
  });
}

// Whatever cannot be brought to an end goes; what is left has only ways that can.
void prune(Program& program, const Flags& alive, const std::array<bool, 256>& usable) {
  for (Node& node : program.nodes) {
    if (node.kind == Kind::kBytes) {
      const auto begin = program.edges.begin() + node.begin, end = program.edges.begin() + node.end;
      const auto kept = std::remove_if(begin, end, [&](const ByteEdge& edge) {
        return !alive[edge.target] || !edge_usable(edge, usable);
      });
      node.end = static_cast<uint32_t>(kept - program.edges.begin());
    } else if (node.kind == Kind::kSplit) {
      const auto begin = program.targets.begin() + node.begin, end = program.targets.begin() + node.end;
      const auto kept = std::remove_if(begin, end, [&](NodeId target) { return !alive[target]; });
      node.end = static_cast<uint32_t>(kept - program.targets.begin());
    } else if (node.kind == Kind::kRepeat && !alive[node.body]) {
      program.targets.push_back(node.next);
      const auto end = static_cast<uint32_t>(program.targets.size());
      node = {.kind = Kind::kSplit, .begin = end - 1, .end = end};
    }
  }
}

// Looks for a call that comes back to itself without a byte: Tarjan's strongly connected components over the
// ways that take none, with a stack of its own.
class LeftRecursion {
 public:
  LeftRecursion(const Program& program, const Flags& alive, const Flags& nullable, WorkBudget& budget)
      : program_(program), nullable_(nullable), places_(program.nodes.size()) {
    for (NodeId id = 0; id < program.nodes.size(); ++id) {
      if (alive[id] && places_[id].index == 0) search(id, budget);
    }
  }

  // The component of the first call found that stays in its component; 0: none.
  uint32_t component() const { return found_; }
  bool holds(NodeId id) const { return places_[id].component == found_; }

 private:
  struct Place {
    uint32_t index = 0, low = 0, component = 0;
  };
  struct Visit {
    NodeId id;
    std::vector<NodeId> ways;
    size_t next = 0;
  };

  std::vector<NodeId> ways(NodeId id) const {
    const Node& node = program_.nodes[id];
    switch (node.kind) {
      case Kind::kSplit: {
        const auto targets = program_.targets_of(node);
        return {targets.begin(), targets.end()};
      }
      case Kind::kCall:
        return nullable_[node.body] ? std::vector<NodeId>{node.body, node.next}
                                    : std::vector<NodeId>{node.body};
      case Kind::kRepeat:
        return node.min == 0 || nullable_[node.body] ? std::vector<NodeId>{node.body, node.next}
                                                     : std::vector<NodeId>{node.body};
      default:
        return {};
    }
  }

  void enter(NodeId id) {
    places_[id].index = places_[id].low = ++index_;
    open_.push_back(id);
    visits_.push_back({id, ways(id)});
  }

  void search(NodeId root, WorkBudget& budget) {
    enter(root);
    while (!visits_.empty()) {
      Visit& visit = visits_.back();
      Place& place = places_[visit.id];
      budget.spend(1);
      if (visit.next < visit.ways.size()) {
        const NodeId to = visit.ways[visit.next++];
        if (places_[to].index == 0) {
          enter(to);
        } else if (places_[to].component == 0) {
          place.low = std::min(place.low, places_[to].index);
        }
        continue;
      }
      if (place.low == place.index) close(visit.id);
      const uint32_t low = place.low;
      visits_.pop_back();
      if (!visits_.empty()) {
        Place& parent = places_[visits_.back().id];
        parent.low = std::min(parent.low, low);
      }
    }
  }

  void close(NodeId root) {
    ++components_;
    const auto begin = std::find(open_.rbegin(), open_.rend(), root).base() - 1;
    for (auto id = begin; id != open_.end(); ++id) places_[*id].component = components_;
    for (auto id = begin; id != open_.end() && found_ == 0; ++id) {
      const Node& node = program_.nodes[*id];
      if (node.kind == Kind::kCall && places_[node.body].component == components_) found_ = components_;
    }
    open_.erase(begin, open_.end());
  }

  const Program& program_;
  const Flags& nullable_;
  std::vector<Place> places_;
  std::vector<NodeId> open_;
  std::vector<Visit> visits_;
  uint32_t index_ = 0, components_ = 0, found_ = 0;
};

void check_left_recursion(const Program& program, const Grammar& grammar,
                          std::span<const NodeId> rule_entries, const Flags& alive, const Flags& empty,
                          WorkBudget& budget) {
  const LeftRecursion search(program, alive, empty, budget);
  if (search.component() == 0) return;
  std::string_view name = "?";
  for (size_t rule = 0; rule < rule_entries.size(); ++rule) {
    if (rule_entries[rule] == kNoNode || !search.holds(rule_entries[rule])) continue;
    name = grammar.name(static_cast<RuleId>(rule));
    break;
  }
  fail(
      "grammar: rule \"{}\" is left-recursive: it may begin with itself; write the repetition as (...)* or "
      "put the recursion last",
      printable(name));
}

void check_rules(const Grammar& grammar, std::span<const NodeId> rule_entries, const Flags& ends) {
  for (size_t rule = 0; rule < rule_entries.size(); ++rule) {
    if (rule_entries[rule] != kNoNode && !ends[rule_entries[rule]])
      fail("grammar: rule \"{}\" can only recurse: no text ends it",
           printable(grammar.name(static_cast<RuleId>(rule))));
  }
}

void set_classes(Program& program, const Flags& alive) {
  std::array<bool, 257> begins{};
  begins[0] = true;
  for (NodeId id = 0; id < program.nodes.size(); ++id) {
    if (!alive[id] || program.nodes[id].kind != Kind::kBytes) continue;
    for (const ByteEdge& edge : program.edges_of(program.nodes[id])) {
      begins[edge.low] = true;
      begins[size_t{edge.high} + 1] = true;
    }
  }
  program.byte_of_class.clear();
  for (size_t byte = 0; byte < 256; ++byte) {
    if (begins[byte]) program.byte_of_class.push_back(static_cast<uint8_t>(byte));
    program.class_of[byte] = static_cast<uint8_t>(program.byte_of_class.size() - 1);
  }
}

}  // namespace

void finish_program(Program& program, const Grammar& grammar, std::span<const NodeId> rule_entries,
                    const std::array<bool, 256>& usable, WorkBudget& budget) {
  const Predecessors predecessors(program);
  check_rules(grammar, rule_entries, productive(program, predecessors, usable, true, budget));
  const Flags alive = productive(program, predecessors, usable, false, budget);
  if (!alive[program.start]) fail("grammar: no text matches it");
  prune(program, alive, usable);
  const Flags empty = nullable(program, Predecessors(program), budget);
  // A repeat whose body may be empty is as good as fulfilled.
  for (Node& node : program.nodes) {
    if (node.kind == Kind::kRepeat && empty[node.body]) node.min = 0;
  }
  check_left_recursion(program, grammar, rule_entries, alive, empty, budget);
  set_classes(program, alive);
}

}  // namespace chorus
