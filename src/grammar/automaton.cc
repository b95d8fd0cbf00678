#include "grammar/automaton.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace chorus {
namespace {

constexpr size_t kMaxThreads = 4096;  // of a state
constexpr int kCallFrame = -1;        // the count of a frame that counts nothing

size_t mix(size_t hash, size_t value) {
  hash ^= value + 0x9E3779B97F4A7C15u + (hash << 6) + (hash >> 2);
  hash *= 0xFF51AFD7ED558CCDu;
  return hash ^ hash >> 33;
}

void set_bit(std::vector<uint64_t>& bits, int32_t i) {
  bits[static_cast<size_t>(i) / 64] |= uint64_t{1} << (i % 64);
}

}  // namespace

size_t Automaton::Hash::operator()(const Frame& frame) const {
  return mix(mix(frame.node, static_cast<size_t>(frame.count)), frame.parent);
}

size_t Automaton::Hash::operator()(const GrammarThread& thread) const {
  return mix(0, size_t{thread.node} << 32 | thread.stack);
}

size_t Automaton::Hash::operator()(const std::vector<GrammarThread>& threads) const {
  size_t hash = threads.size();
  for (const GrammarThread& thread : threads) hash = mix(hash, size_t{thread.node} << 32 | thread.stack);
  return hash;
}

Automaton::Automaton(const Program& program, const TokenTrie& trie, std::span<const int32_t> stops)
    : program_(program),
      trie_(trie),
      stops_(stops.begin(), stops.end()),
      frames_(1),
      blurred_(1),
      path_(static_cast<size_t>(trie.max_depth()) + 1) {}

StackId Automaton::push(const Frame& frame) {
  const auto [entry, added] = frame_ids_.try_emplace(frame, static_cast<StackId>(frames_.size()));
  if (!added) return entry->second;
  const StackId id = entry->second;
  frames_.push_back(frame);
  blurred_.push_back(id);
  bytes_ += sizeof(Frame) + sizeof(StackId) + 2 * sizeof(Frame) + 4 * sizeof(void*);
  const Frame blurred = {frame.node, blurred_count(frame), blurred_[frame.parent]};
  if (blurred != frame) blurred_[id] = push(blurred);  // which is its own
  return id;
}

// A count that behaves the same for as many bytes as a token may have.
int Automaton::blurred_count(const Frame& frame) const {
  const Node& node = program_.nodes[frame.node];
  if (frame.count == kCallFrame) return frame.count;
  const int64_t far = trie_.max_depth(), count = frame.count, min = node.min, max = node.max;
  const bool far_from_max = max < 0 || max - count > far;
  if (min - count > far && far_from_max) return 0;
  if (count >= min && far_from_max) return node.min;
  return frame.count;
}

void Automaton::reach(NodeId node, StackId stack) {
  const GrammarThread place = {node, stack};
  if (seen_.insert(place).second) work_.push_back(place);
}

// All that can be reached without a byte.
void Automaton::follow(NodeId node, StackId stack, WorkBudget& budget) {
  reach(node, stack);
  while (!work_.empty()) {
    const GrammarThread place = work_.back();
    work_.pop_back();
    budget.spend(1);
    follow_one(place);
    if (threads_.size() > kMaxThreads)
      fail("the grammar is too ambiguous: a text may be read in more than {} ways at once", kMaxThreads);
  }
}

void Automaton::follow_one(GrammarThread place) {
  const Node& node = program_.nodes[place.node];
  switch (node.kind) {
    case Node::Kind::kBytes:
      threads_.push_back(place);
      return;
    case Node::Kind::kSplit:
      for (const NodeId target : program_.targets_of(node)) reach(target, place.stack);
      return;
    case Node::Kind::kCall: {
      // With nothing left to do afterwards no frame is needed: a recursion at the end of a rule is a loop.
      const bool last = program_.nodes[node.next].kind == Node::Kind::kReturn;
      reach(node.body, last ? place.stack : push({node.next, kCallFrame, place.stack}));
      return;
    }
    case Node::Kind::kRepeat:
      enter_repeat(place.node, 0, place.stack);
      return;
    case Node::Kind::kReturn:
      finish_body(place.stack);
      return;
  }
}

void Automaton::enter_repeat(NodeId id, int count, StackId stack) {
  const Node& node = program_.nodes[id];
  if (count >= node.min) reach(node.next, stack);
  if (node.max < 0 || count < node.max) reach(node.body, push({id, count, stack}));
}

void Automaton::finish_body(StackId stack) {
  if (stack == 0) {
    accepting_ = true;
    return;
  }
  const Frame frame = frames_[stack];
  if (frame.count != kCallFrame) {
    const Node& node = program_.nodes[frame.node];
    const bool counts = node.max >= 0 || frame.count < node.min;
    enter_repeat(frame.node, frame.count + (counts ? 1 : 0), frame.parent);
  } else {
    reach(frame.node, frame.parent);
  }
}

// The state of what follow() has found since the last one.
GrammarState* Automaton::closed() {
  std::ranges::sort(threads_);
  GrammarState* state = intern(threads_, accepting_);
  threads_.clear();
  seen_.clear();
  work_.clear();
  accepting_ = false;
  return state;
}

GrammarState* Automaton::intern(std::vector<GrammarThread> threads, bool accepting) {
  if (threads.empty() && !accepting) return &dead_;
  const size_t hash = mix(Hash()(threads), accepting ? 1 : 0);
  const auto [begin, end] = state_ids_.equal_range(hash);
  for (auto entry = begin; entry != end; ++entry) {
    GrammarState* state = entry->second;
    if (state->accepting == accepting && state->threads == threads) return state;
  }
  GrammarState& state = states_.emplace_back();
  const size_t classes = program_.byte_of_class.size();
  state.threads = std::move(threads);
  state.accepting = accepting;
  state.next = std::make_unique<std::atomic<GrammarState*>[]>(classes);
  state_ids_.emplace(hash, &state);
  bytes_ +=
      sizeof(GrammarState) + state.threads.capacity() * sizeof(GrammarThread) + (classes + 6) * sizeof(void*);
  return &state;
}

GrammarState* Automaton::start(WorkBudget& budget) {
  follow(program_.start, 0, budget);
  return closed();
}

GrammarState* Automaton::step(GrammarState* state, uint8_t byte, WorkBudget& budget) {
  std::atomic<GrammarState*>& known = state->next[program_.class_of[byte]];
  if (GrammarState* next = known.load(std::memory_order_relaxed)) return next;
  budget.spend(1 + state->threads.size());
  threads_.clear();  // of one that an Error ended
  seen_.clear();
  work_.clear();
  accepting_ = false;
  for (const GrammarThread& thread : state->threads) {
    const auto edges = program_.edges_of(program_.nodes[thread.node]);
    const auto edge = std::ranges::lower_bound(edges, byte, {}, &ByteEdge::high);
    if (edge != edges.end() && edge->low <= byte) follow(edge->target, thread.stack, budget);
  }
  GrammarState* next = closed();
  known.store(next, std::memory_order_release);
  return next;
}

GrammarState* Automaton::blurred_state(const GrammarState& state) {
  std::vector<GrammarThread> threads = state.threads;
  for (GrammarThread& thread : threads) thread.stack = blurred_[thread.stack];
  std::ranges::sort(threads);
  threads.erase(std::unique(threads.begin(), threads.end()), threads.end());
  return intern(std::move(threads), state.accepting);
}

// Goes through the tokens as a tree, past all that begin with what is dead.
void Automaton::walk(GrammarState* state, std::vector<uint64_t>& bits, WorkBudget& budget) {
  const auto places = trie_.places();
  path_[0] = state;
  for (size_t i = 0; i < places.size();) {
    const TokenTrie::Place& place = places[i];
    GrammarState* from = path_[place.depth - 1u];
    GrammarState* to = from->next[program_.class_of[place.byte]].load(std::memory_order_relaxed);
    if (to == nullptr) to = step(from, place.byte, budget);
    if (to == &dead_) {
      i = place.end;
      continue;
    }
    path_[place.depth] = to;
    for (const int32_t id : trie_.ids(place)) set_bit(bits, id);
    ++i;
  }
}

void Automaton::build_mask(GrammarState* state, WorkBudget& budget) {
  if (state->mask.load(std::memory_order_relaxed) != nullptr) return;
  GrammarState* blurred = blurred_state(*state);
  const TokenMask* mask = blurred->mask.load(std::memory_order_relaxed);
  if (mask == nullptr) {
    TokenMask made;
    made.bits.resize((static_cast<size_t>(trie_.vocab()) + 63) / 64);
    walk(blurred, made.bits, budget);
    const bool none = std::ranges::all_of(made.bits, [](uint64_t word) { return word == 0; });
    if (none && !(state->accepting && !stops_.empty()))
      fail("the grammar asks for a text that no token can begin");
    made.only_stops = none;
    if (state->accepting) {
      for (const int32_t id : stops_) set_bit(made.bits, id);
    }
    mask = keep(std::move(made));
    blurred->mask.store(mask, std::memory_order_release);
    ++masked_states_;
  }
  if (state != blurred) ++masked_states_;
  state->mask.store(mask, std::memory_order_release);
}

// Equal masks are one.
const TokenMask* Automaton::keep(TokenMask mask) {
  size_t hash = 0;
  for (const uint64_t word : mask.bits) hash = mix(hash, word);
  const auto [begin, end] = mask_ids_.equal_range(hash);
  for (auto entry = begin; entry != end; ++entry) {
    if (entry->second->bits == mask.bits && entry->second->only_stops == mask.only_stops)
      return entry->second;
  }
  bytes_ += sizeof(TokenMask) + mask.bits.capacity() * sizeof(uint64_t) + 6 * sizeof(void*);
  const TokenMask* kept = &masks_.emplace_back(std::move(mask));
  mask_ids_.emplace(hash, kept);
  return kept;
}

GrammarState* Automaton::adopt(const Automaton& other, const GrammarState& state) {
  std::unordered_map<StackId, StackId> ids = {{0, 0}};
  std::vector<StackId> chain;
  std::vector<GrammarThread> threads = state.threads;
  for (GrammarThread& thread : threads) {
    StackId stack = thread.stack;
    for (; !ids.contains(stack); stack = other.frames_[stack].parent) chain.push_back(stack);
    for (; !chain.empty(); chain.pop_back()) {
      Frame frame = other.frames_[chain.back()];
      frame.parent = ids.at(frame.parent);
      ids[chain.back()] = push(frame);
    }
    thread.stack = ids.at(thread.stack);
  }
  std::ranges::sort(threads);
  return intern(std::move(threads), state.accepting);
}

}  // namespace chorus
