#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "grammar/automaton.h"
#include "grammar/constraint.h"

namespace chorus {

// What all grammars of a compiler share.
struct Vocabulary {
  TokenTrie trie;
  std::vector<int32_t> stops;

  Vocabulary(const Tokenizer& tokenizer, std::vector<int32_t> stop_ids)
      : trie(tokenizer, stop_ids), stops(std::move(stop_ids)) {}
};

// An automaton that may be given up for an empty one: then it is retired, and gone when the last answer has
// left it.
struct Generation {
  Automaton automaton;
  std::atomic<bool> retired{false};

  Generation(const Program& program, const Vocabulary& vocabulary)
      : automaton(program, vocabulary.trie, vocabulary.stops) {}
};

class MaskBuilder;

class Constraint {
 public:
  struct Place {
    std::shared_ptr<Generation> generation;
    GrammarState* state = nullptr;
  };

  // Works out the first state. Errors as ConstraintCompiler::compile's.
  Constraint(const Grammar& grammar, std::shared_ptr<MaskBuilder> builder, const ConstraintLimits& limits,
             WorkBudget& budget);

  Place start() const;
  // The place in a generation that has room; for the builder's thread. Error: too many generations are held.
  Place in_current(const Place& place) const;
  MaskBuilder& builder() const { return *builder_; }
  const Vocabulary& vocabulary() const;
  size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  void note_bytes(const Generation& generation) const;

 private:
  bool full(const Generation& generation) const;

  const std::shared_ptr<MaskBuilder> builder_;
  const ConstraintLimits limits_;
  const Program program_;
  mutable std::atomic<size_t> bytes_{0};
  mutable std::mutex mutex_;
  mutable Place start_;
  mutable std::vector<std::weak_ptr<Generation>> retired_;  // the builder's own
};

// Where an answer stands, and what the builder is asked to do for it.
struct ConstraintJob {
  enum class Phase : uint8_t { kReady, kPending, kFailed };

  ConstraintHandle constraint;
  // The builder's while kPending, else the answer's.
  Constraint::Place place;
  std::string_view rest;  // bytes to take from there
  std::string error;
  std::atomic<Phase> phase{Phase::kReady};

  // Of the builder's queue; the answer may be gone before its turn comes.
  ConstraintJob* next = nullptr;
  std::shared_ptr<ConstraintJob> self;
};

// The thread that works out states met for the first time, in the order they are asked for.
class MaskBuilder {
 public:
  MaskBuilder(const Tokenizer& tokenizer, std::vector<int32_t> stop_ids, std::function<void()> on_ready);
  ~MaskBuilder();

  // job->phase is kPending. Without a lock.
  void post(std::shared_ptr<ConstraintJob> job);
  // After this no job is done any more.
  void stop();

  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  void run();
  ConstraintJob* take();
  void work(ConstraintJob& job);

  const Vocabulary vocabulary_;
  const std::function<void()> on_ready_;
  std::atomic<ConstraintJob*> posted_{nullptr};  // a stack; the builder takes all and turns it round
  std::atomic<uint32_t> signal_{0};
  std::atomic<bool> stopping_{false};
  ConstraintJob* taken_ = nullptr;
  std::thread thread_;
};

}  // namespace chorus
