#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "grammar/budget.h"
#include "grammar/program.h"
#include "grammar/token_trie.h"

namespace chorus {

using StackId = uint32_t;

// One way in which the text so far may have been read: at a node that takes a byte, with what is to be done
// after the bodies it is in.
struct GrammarThread {
  NodeId node = 0;
  StackId stack = 0;
  auto operator<=>(const GrammarThread&) const = default;
};

// The tokens that may come next. Bit i % 64 of word i / 64: token i.
struct TokenMask {
  std::vector<uint64_t> bits;
  bool only_stops = false;
};

// All ways in which the text so far may have been read.
struct GrammarState {
  std::vector<GrammarThread> threads;                  // sorted
  bool accepting = false;                              // the text may end here
  std::unique_ptr<std::atomic<GrammarState*>[]> next;  // [classes]; nullptr: not known yet
  std::atomic<const TokenMask*> mask{nullptr};         // nullptr: not known yet
};

// The automaton of a program over bytes, made deterministic as far as it is asked for; and the masks of its
// states. One thread at a time works things out; any others may follow `next` and `mask` where they are
// known. Nothing is taken back while it lives.
//
// Repetitions are counted on the stack, so that their bounds cost nothing; and as no token is longer than
// max_depth() bytes, counts that are further than that from their bounds have one mask in common.
class Automaton {
 public:
  // Both must outlive it. `stops` are the ids that end a text.
  Automaton(const Program& program, const TokenTrie& trie, std::span<const int32_t> stops);
  Automaton(const Automaton&) = delete;
  Automaton& operator=(const Automaton&) = delete;

  // Errors of all below: the budget, or a state with too many threads; what was worked out stays.
  GrammarState* start(WorkBudget& budget);
  // The state after one byte more; dead() if none.
  GrammarState* step(GrammarState* state, uint8_t byte, WorkBudget& budget);
  const GrammarState* dead() const { return &dead_; }
  // Sets state->mask. Error too where no token fits.
  void build_mask(GrammarState* state, WorkBudget& budget);
  // The state of `other`, an automaton of the same program.
  GrammarState* adopt(const Automaton& other, const GrammarState& state);

  const Program& program() const { return program_; }
  const TokenTrie& trie() const { return trie_; }
  size_t bytes() const { return bytes_; }
  size_t masked_states() const { return masked_states_; }

 private:
  // A body that is being done: the node where it goes on after a call (count -1); or the repeat's node, and
  // how often it was done before.
  struct Frame {
    NodeId node = 0;
    int count = 0;
    StackId parent = 0;
    auto operator<=>(const Frame&) const = default;
  };
  struct Hash {
    size_t operator()(const Frame& frame) const;
    size_t operator()(const GrammarThread& thread) const;
    size_t operator()(const std::vector<GrammarThread>& threads) const;
  };
  struct StateKey {
    std::vector<GrammarThread> threads;
    bool accepting;
  };

  StackId push(const Frame& frame);
  StackId blurred(const Frame& frame, StackId itself);
  int blurred_count(const Frame& frame) const;
  void follow(NodeId node, StackId stack, WorkBudget& budget);
  void follow_one(GrammarThread place);
  void enter_repeat(NodeId id, int count, StackId stack);
  void finish_body(StackId stack);
  void reach(NodeId node, StackId stack);
  GrammarState* closed();
  GrammarState* intern(std::vector<GrammarThread> threads, bool accepting);
  GrammarState* blurred_state(const GrammarState& state);
  void walk(GrammarState* state, std::vector<uint64_t>& bits, WorkBudget& budget);
  const TokenMask* keep(TokenMask mask);

  const Program& program_;
  const TokenTrie& trie_;
  const std::vector<int32_t> stops_;
  size_t bytes_ = 0, masked_states_ = 0;

  std::vector<Frame> frames_;     // [0]: the bottom
  std::vector<StackId> blurred_;  // [frames_]: with counts far from their bounds made equal
  std::unordered_map<Frame, StackId, Hash> frame_ids_;

  GrammarState dead_;
  std::deque<GrammarState> states_;
  std::unordered_multimap<size_t, GrammarState*> state_ids_;  // by hash
  std::deque<TokenMask> masks_;
  std::unordered_multimap<size_t, const TokenMask*> mask_ids_;

  // Of the state being worked out.
  std::vector<GrammarThread> work_, threads_;
  std::unordered_set<GrammarThread, Hash> seen_;
  bool accepting_ = false;
  std::vector<GrammarState*> path_;  // of a walk
};

}  // namespace chorus
