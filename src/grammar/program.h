#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "grammar/budget.h"
#include "grammar/grammar.h"

namespace chorus {

using NodeId = uint32_t;

struct ByteEdge {
  uint8_t low = 0, high = 0;
  NodeId target = 0;
  auto operator<=>(const ByteEdge&) const = default;
};

// A place in the grammar.
struct Node {
  enum class Kind : uint8_t {
    kBytes,   // takes one byte, along edges [begin, end), which are disjoint and sorted
    kSplit,   // goes on at any of targets [begin, end)
    kCall,    // does `body` up to its kReturn, then goes on at `next`
    kRepeat,  // does `body` min to max times (max -1: no bound), then goes on at `next`
    kReturn   // the end of a body, or of the text
  };
  Kind kind = Kind::kSplit;
  uint32_t begin = 0, end = 0;
  NodeId body = 0, next = 0;
  int min = 0, max = 0;
};

// A grammar over bytes: a recursive transition network. From every place in it the text can be brought to an
// end with the bytes that are there, and without a byte no body comes back to itself, so that all places
// reachable without a byte are finitely many.
struct Program {
  std::vector<Node> nodes;
  std::vector<ByteEdge> edges;
  std::vector<NodeId> targets;
  NodeId start = 0;
  // Bytes that no edge tells apart share a class.
  std::array<uint8_t, 256> class_of{};
  std::vector<uint8_t> byte_of_class;  // one of each

  std::span<const ByteEdge> edges_of(const Node& node) const {
    return std::span(edges).subspan(node.begin, node.end - node.begin);
  }
  std::span<const NodeId> targets_of(const Node& node) const {
    return std::span(targets).subspan(node.begin, node.end - node.begin);
  }
  size_t bytes() const {
    return nodes.capacity() * sizeof(Node) + edges.capacity() * sizeof(ByteEdge) +
           targets.capacity() * sizeof(NodeId);
  }
};

// `usable`: the bytes of which any text is made. Error: a rule that is not defined, can only recurse or is
// left-recursive; no text matches; more than max_bytes; the budget.
Program lower(const Grammar& grammar, const std::array<bool, 256>& usable, size_t max_bytes,
              WorkBudget& budget);

// The second half of lower(): checks the network, leaves out what leads nowhere, sets the classes of bytes.
// rule_entries[rule]: its first node, or kNoNode.
constexpr NodeId kNoNode = 0xFFFFFFFF;
void finish_program(Program& program, const Grammar& grammar, std::span<const NodeId> rule_entries,
                    const std::array<bool, 256>& usable, WorkBudget& budget);

}  // namespace chorus
