#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/sha256.h"
#include "engine/block_manager.h"
#include "engine/sequence.h"

namespace chorus {

struct SchedulerConfig {
  int max_rows = 512;                // of a step
  int max_sequences = 64;            // running at once; less than max_rows
  int prefill_chunk = 256;           // prefill rows of a step that also decodes: what a decode waits for
  int prefill_streams = 4;           // prompts that share the chunk before more have to wait
  int max_prompt_logprob_rows = 64;  // of a step
  int max_live = 512;                // sequences waiting and running; the caller keeps to it
  std::chrono::steady_clock::duration max_wait =
      std::chrono::seconds(30);  // then it goes first if nothing of its tenant runs
};

// A sequence's part of a step: its next `rows` positions. Of these rows the logits of
// [score_begin, score_end) are wanted for prompt log-probabilities, and of the last row if it samples.
struct ScheduledSequence {
  Sequence* sequence = nullptr;
  int rows = 0;
  int score_begin = 0, score_end = 0;
  bool samples = false;
};

// Who runs next. Continuous batching: every step takes one row of each sequence that decodes, then shares the
// rest of its rows among the prompts that are being computed.
//
// Order of admission: preempted sequences first, oldest first; then, oldest first, what has waited for
// max_wait and of whose tenant nothing runs: tenants that come and go begin with what the least served has
// had, and could pass another for ever; then the tenant that has had the fewest rows while it had work. Of a
// tenant, its groups (same adapters and scales) take turns, within a group oldest first. The one whose turn
// it is waits for pages and nobody overtakes it, but for this: a sequence whose next block is being computed
// by a running one lets others pass until it can share that block. So the samples of one request, and equal
// prompts that arrive together, compute their common blocks once.
//
// A tenant of which nothing runs does not wait for one that runs more than its share: the latest arrival of
// that one gives up its place, and finds most of its positions in the prefix cache when its turn comes again.
// No place is kept free for this, so a tenant alone has all of them. Prefill rows are shared by tenants
// first.
//
// A sequence whose constraint has yet to say what may follow, and has not by the end of a step, is left out
// until it does; nobody else waits for it.
//
// When a decode finds no page, the latest arrival gives its pages back and later computes its tokens again.
// The oldest running sequence is never the victim unless it is alone, and a sequence alone always fits
// (validate() saw to it), so there is always progress.
class Scheduler {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // `blocks` must outlive it.
  Scheduler(const SchedulerConfig& config, BlockManager& blocks);

  void add(std::unique_ptr<Sequence> sequence);

  // Plans a step: in order of adapters, the base first; then of arrival. Empty: nothing to do. Valid until
  // the next call; each entry must be advanced or removed before that.
  std::span<const ScheduledSequence> schedule(TimePoint now = {});

  // A sequence that has never run and whose deadline has passed, or nullptr.
  Sequence* find_expired(TimePoint now);

  // The next `rows` positions of a scheduled sequence are stored; its full blocks become findable.
  void advance(Sequence& sequence, int rows);

  // Takes a sequence out and gives its pages back. kDistrust: what it stored is not to be shared.
  enum class Content : uint8_t { kKeep, kDistrust };
  std::unique_ptr<Sequence> remove(Sequence& sequence, Content content = Content::kKeep);

  // Some sequence of that request, or nullptr.
  Sequence* find(uint64_t request) const;

  int waiting() const { return static_cast<int>(waiting_.size()); }
  int running() const { return static_cast<int>(running_.size()); }
  uint64_t preemptions() const { return preemptions_; }
  uint64_t prefix_hit_tokens() const { return prefix_hit_tokens_; }

 private:
  using Sequences = std::vector<std::unique_ptr<Sequence>>;
  struct Tenant {
    Digest key{};
    // Rows: those that a sequence lacks when it is admitted, then those that decode. Of a tenant that comes
    // anew: as the least served of those there are.
    uint64_t served = 0;
    int live = 0, running = 0;
    int prefills = 0, prefill_rows = 0;  // of the step being planned: sequences, and rows left for them
  };
  struct Group {
    Digest key{};
    uint64_t turn = 0;  // when it was last served or began to wait; the smallest is next
    int live = 0;
  };

  int join_tenant(const Digest& key);
  int join_group(const Digest& key);
  Tenant& tenant_of(const Sequence& sequence) { return tenants_[static_cast<size_t>(sequence.tenant)]; }
  const Tenant& tenant_of(const Sequence& s) const { return tenants_[static_cast<size_t>(s.tenant)]; }
  bool neglected(const Sequence& sequence) const;
  bool before(const Sequence& a, const Sequence& b) const;
  Sequence* next_waiting();

  void schedule_decodes();
  bool grow(Sequence& sequence);
  void preempt_latest();
  bool preempt_for(const Sequence& candidate);
  void admit(int budget);
  bool try_admit(Sequence& sequence);
  bool waits_for_block(const Sequence& sequence, size_t block) const;
  void share_prefill(int budget);
  int extend(Sequence& sequence, int rows, int& score_rows);
  void collect();
  void give_back(Sequence& sequence, Content content);

  const SchedulerConfig config_;
  BlockManager& blocks_;
  Sha256 hash_;
  Sequences waiting_, running_;  // running_ by arrival
  std::vector<Tenant> tenants_;
  std::vector<Group> groups_;
  std::vector<ScheduledSequence> scheduled_;
  TimePoint now_{}, next_deadline_ = TimePoint::max();
  uint64_t step_ = 0, turn_ = 0, preemptions_ = 0, prefix_hit_tokens_ = 0;
};

}  // namespace chorus
