#include "engine/scheduler.h"

#include <algorithm>
#include <cassert>
#include <tuple>
#include <utility>

#include "engine/prefix_key.h"
#include "model/kv_pages.h"

namespace chorus {
namespace {

int pages_for(int positions) { return (positions + kPagePositions - 1) / kPagePositions; }

// Full blocks that a sequence may take from the cache: the last token is always computed, for its logits, and
// so are prompt rows whose logits are still to be reported.
size_t sharable_blocks(const Sequence& s) {
  const int positions = s.wants_scores() ? s.scored : s.size() - 1;
  return std::min(static_cast<size_t>(positions / kPagePositions), s.block_keys.size());
}

// Prompt log-probability rows among the next `rows`.
int score_rows(const Sequence& s, int rows) {
  if (!s.wants_scores()) return 0;
  const int begin = std::max(s.computed, s.scored);
  return std::max(0, std::min(s.computed + rows, s.prompt_size() - 1) - begin);
}

ScheduledSequence planned(Sequence& s) {
  ScheduledSequence item{&s, s.planned_rows, 0, 0, false};
  const int scores = score_rows(s, s.planned_rows);
  if (scores > 0) {
    item.score_begin = std::max(s.scored - s.computed, 0);
    item.score_end = item.score_begin + scores;
  }
  item.samples = s.planned_rows == s.remaining() && s.generated() < s.request().max_tokens;
  return item;
}

std::unique_ptr<Sequence> take(std::vector<std::unique_ptr<Sequence>>& from, const Sequence& sequence) {
  const auto found =
      std::find_if(from.begin(), from.end(), [&](const auto& entry) { return entry.get() == &sequence; });
  if (found == from.end()) return nullptr;
  std::unique_ptr<Sequence> taken = std::move(*found);
  from.erase(found);
  return taken;
}

}  // namespace

Scheduler::Scheduler(const SchedulerConfig& config, BlockManager& blocks) : config_(config), blocks_(blocks) {
  assert(config.max_sequences < config.max_rows && config.prefill_chunk > 0);
  const size_t live = static_cast<size_t>(config.max_live),
               running = static_cast<size_t>(config.max_sequences);
  waiting_.reserve(live);
  tenants_.reserve(live);
  groups_.reserve(live);
  running_.reserve(running);
  scheduled_.reserve(running);
}

void Scheduler::add(std::unique_ptr<Sequence> sequence) {
  sequence->tenant = join_tenant(sequence->owner->tenant_key);
  sequence->group = join_group(sequence->owner->prefix_seed);
  next_deadline_ = std::min(next_deadline_, sequence->request().deadline);
  waiting_.push_back(std::move(sequence));
}

int Scheduler::join_tenant(const Digest& key) {
  int unused = -1;
  uint64_t least = 0;
  bool any = false;
  for (size_t i = 0; i < tenants_.size(); ++i) {
    if (tenants_[i].live == 0) {
      unused = static_cast<int>(i);
      continue;
    }
    if (tenants_[i].key == key) {
      ++tenants_[i].live;
      return static_cast<int>(i);
    }
    least = any ? std::min(least, tenants_[i].served) : tenants_[i].served;
    any = true;
  }
  if (unused < 0) {
    unused = static_cast<int>(tenants_.size());
    tenants_.emplace_back();
  }
  tenants_[static_cast<size_t>(unused)] = {key, least, 1, 0, 0, 0};
  return unused;
}

int Scheduler::join_group(const Digest& key) {
  int unused = -1;
  for (size_t i = 0; i < groups_.size(); ++i) {
    if (groups_[i].live == 0) {
      unused = static_cast<int>(i);
    } else if (groups_[i].key == key) {
      ++groups_[i].live;
      return static_cast<int>(i);
    }
  }
  if (unused < 0) {
    unused = static_cast<int>(groups_.size());
    groups_.emplace_back();
  }
  groups_[static_cast<size_t>(unused)] = {key, ++turn_, 1};
  return unused;
}

bool Scheduler::before(const Sequence& a, const Sequence& b) const {
  if (a.preempted != b.preempted) return a.preempted;
  if (a.preempted) return a.arrival < b.arrival;
  if (a.tenant != b.tenant) {
    if (neglected(a) != neglected(b)) return neglected(a);
    const uint64_t served_a = tenant_of(a).served, served_b = tenant_of(b).served;
    return neglected(a) || served_a == served_b ? a.arrival < b.arrival : served_a < served_b;
  }
  if (a.group == b.group) return a.arrival < b.arrival;
  return groups_[static_cast<size_t>(a.group)].turn < groups_[static_cast<size_t>(b.group)].turn;
}

bool Scheduler::neglected(const Sequence& s) const {
  return tenant_of(s).running == 0 && now_ - s.owner->submitted >= config_.max_wait;
}

Sequence* Scheduler::find_expired(TimePoint now) {
  if (now < next_deadline_) return nullptr;
  next_deadline_ = TimePoint::max();
  for (const auto& s : waiting_) {
    if (s->admitted) continue;
    if (s->request().deadline <= now) {
      next_deadline_ = now;  // there may be more
      return s.get();
    }
    next_deadline_ = std::min(next_deadline_, s->request().deadline);
  }
  return nullptr;
}

Sequence* Scheduler::next_waiting() {
  Sequence* best = nullptr;
  for (const auto& s : waiting_) {
    if (s->passed_over != step_ && (best == nullptr || before(*s, *best))) best = s.get();
  }
  return best;
}

std::span<const ScheduledSequence> Scheduler::schedule(TimePoint now) {
  ++step_;
  now_ = now;
  scheduled_.clear();
  for (const auto& s : running_) {
    s->planned_rows = 0;
    s->blocked = s->awaits_mask && !s->constraint->ready();
  }
  const uint64_t preempted_before = preemptions_;
  schedule_decodes();
  int decodes = 0;
  for (const auto& s : running_) decodes += s->planned_rows;
  const int rest = config_.max_rows - decodes;
  const int budget = decodes > 0 ? std::min(rest, config_.prefill_chunk) : rest;
  // Who has just lost its pages would only take them back.
  if (preemptions_ == preempted_before) admit(budget);
  share_prefill(budget);
  collect();
  return scheduled_;
}

void Scheduler::schedule_decodes() {
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& s = *running_[i];
    if (s.remaining() == 1 && !s.blocked && grow(s)) s.planned_rows = 1;
  }
}

// Sees to a page for the next position, at the expense of the latest arrival, which may be the sequence
// itself: then false. Those behind it in running_ have no rows in this step yet.
bool Scheduler::grow(Sequence& sequence) {
  if (sequence.computed < static_cast<int>(sequence.block_table.size()) * kPagePositions) return true;
  for (;;) {
    const int32_t page = blocks_.allocate();
    if (page >= 0) {
      sequence.block_table.push_back(page);
      return true;
    }
    const bool itself = running_.back().get() == &sequence;
    preempt_latest();
    if (itself) return false;
  }
}

void Scheduler::preempt_latest() {
  std::unique_ptr<Sequence> victim = std::move(running_.back());
  running_.pop_back();
  --tenant_of(*victim).running;
  give_back(*victim, Content::kKeep);
  victim->preempted = true;
  waiting_.push_back(std::move(victim));
  ++preemptions_;
}

// Takes a place from the tenant that runs most, for one of which nothing runs. False: nobody has more than
// its share. Whoever goes has another of its tenant before it, so it is never the oldest.
bool Scheduler::preempt_for(const Sequence& candidate) {
  if (tenant_of(candidate).running > 0) return false;
  int active = 0;
  const Tenant* most = nullptr;
  for (const Tenant& tenant : tenants_) {
    active += tenant.live > 0;
    if (most == nullptr || tenant.running > most->running) most = &tenant;
  }
  const int share = std::max(1, (running() + active) / active);
  if (most->running <= share) return false;
  const int index = static_cast<int>(most - tenants_.data());
  const auto latest =
      std::find_if(running_.rbegin(), running_.rend(), [&](const auto& s) { return s->tenant == index; });
  std::unique_ptr<Sequence> victim = std::move(*latest);
  running_.erase(std::next(latest).base());
  --tenant_of(*victim).running;
  give_back(*victim, Content::kKeep);
  victim->planned_rows = 0;
  waiting_.push_back(std::move(victim));
  ++preemptions_;
  return true;
}

void Scheduler::admit(int budget) {
  int prefills = 0, wanted = 0;
  for (Tenant& tenant : tenants_) tenant.prefills = 0;
  for (const auto& s : running_) {
    if (s->planned_rows > 0 || s->blocked) continue;
    ++prefills;
    ++tenant_of(*s).prefills;
    wanted += std::min(s->remaining(), budget);
  }
  while (Sequence* candidate = next_waiting()) {
    const bool busy = prefills >= config_.prefill_streams && wanted >= budget;
    if (busy && tenant_of(*candidate).prefills > 0) return;
    if (running() == config_.max_sequences && !preempt_for(*candidate)) return;
    if (!try_admit(*candidate)) {
      if (candidate->passed_over == step_) continue;
      if (!preempt_for(*candidate)) return;
      continue;
    }
    ++prefills;
    ++tenant_of(*candidate).prefills;
    wanted += std::min(candidate->remaining(), budget);
  }
}

// False: it waits for a block (passed_over is set) or for pages.
bool Scheduler::try_admit(Sequence& s) {
  const size_t sharable = sharable_blocks(s);
  size_t hits = 0;
  int idle_hits = 0;
  for (; hits < sharable; ++hits) {
    const BlockManager::Presence presence = blocks_.find(s.block_keys[hits]);
    if (presence == BlockManager::Presence::kAbsent) break;
    idle_hits += presence == BlockManager::Presence::kCached;
  }
  if (hits < sharable && waits_for_block(s, hits)) {
    s.passed_over = step_;
    return false;
  }
  // A page in hand for each that runs, or it would soon be preempted again.
  const int needed = pages_for(s.size()) - static_cast<int>(hits);
  if (needed + running() > blocks_.available() - idle_hits) return false;

  for (size_t i = 0; i < hits; ++i) s.block_table.push_back(blocks_.acquire(s.block_keys[i]));
  for (int i = 0; i < needed; ++i) s.block_table.push_back(blocks_.allocate());
  s.computed = static_cast<int>(hits) * kPagePositions;
  s.published = static_cast<int>(hits);
  s.planned_rows = 0;
  s.blocked = false;
  prefix_hit_tokens_ += static_cast<uint64_t>(s.computed);
  if (!s.admitted) {
    s.admitted = true;
    s.queue_seconds = std::chrono::duration<float>(now_ - s.owner->submitted).count();
    s.prefix_hit_tokens = s.computed;
  }
  ++tenant_of(s).running;
  tenant_of(s).served += static_cast<uint64_t>(s.remaining());
  groups_[static_cast<size_t>(s.group)].turn = ++turn_;
  const auto place = std::find_if(running_.begin(), running_.end(),
                                  [&](const auto& other) { return other->arrival > s.arrival; });
  running_.insert(place, take(waiting_, s));
  return true;
}

bool Scheduler::waits_for_block(const Sequence& s, size_t block) const {
  const auto computes_it = [&](const auto& other) {
    return other->block_keys.size() > block && other->block_keys[block] == s.block_keys[block] &&
           other->computed < static_cast<int>(block + 1) * kPagePositions;
  };
  return std::any_of(running_.begin(), running_.end(), computes_it);
}

// Even shares for the tenants, and of each for its sequences; what one does not need goes to those behind it,
// and the rest to the oldest. The oldest always gets on.
void Scheduler::share_prefill(int budget) {
  int tenants = 0;
  for (Tenant& tenant : tenants_) tenant.prefills = 0;
  for (const auto& s : running_) {
    if (s->planned_rows == 0 && !s->blocked) tenants += tenant_of(*s).prefills++ == 0;
  }
  for (Tenant& tenant : tenants_) {
    if (tenant.prefills > 0) tenant.prefill_rows = (budget + tenants - 1) / tenants;
  }
  int scores = config_.max_prompt_logprob_rows;
  for (const auto& s : running_) {
    if (s->planned_rows > 0 || s->blocked) continue;
    Tenant& tenant = tenant_of(*s);
    const int share = (tenant.prefill_rows + tenant.prefills - 1) / tenant.prefills;
    const int rows = extend(*s, std::min(share, budget), scores);
    budget -= rows;
    tenant.prefill_rows -= rows;
    --tenant.prefills;
  }
  for (const auto& s : running_) budget -= extend(*s, budget, scores);
}

// Plans up to `rows` more rows, using up `scores`; returns how many.
int Scheduler::extend(Sequence& s, int rows, int& scores) {
  const int before = s.planned_rows;
  const int scored_before = score_rows(s, before);
  int after = s.blocked ? 0 : std::min(before + rows, s.remaining());
  const int excess = score_rows(s, after) - scored_before - scores;
  // The rows beyond the budget are the last of those that are scored, and all rows behind them.
  if (excess > 0) after = std::min(after, s.prompt_size() - 1 - s.computed) - excess;
  scores -= score_rows(s, after) - scored_before;
  s.planned_rows = after;
  return after - before;
}

void Scheduler::collect() {
  for (const auto& s : running_) {
    if (s->planned_rows == 0) continue;
    scheduled_.push_back(planned(*s));
    if (s->generated() > 0 && s->remaining() == 1) ++tenant_of(*s).served;
  }
  std::sort(scheduled_.begin(), scheduled_.end(), [](const auto& a, const auto& b) {
    return std::tie(a.sequence->owner->adapter_key, a.sequence->arrival) <
           std::tie(b.sequence->owner->adapter_key, b.sequence->arrival);
  });
}

void Scheduler::advance(Sequence& s, int rows) {
  s.computed += rows;
  for (; s.published < s.computed / kPagePositions; ++s.published) {
    const size_t block = static_cast<size_t>(s.published);
    if (block == s.block_keys.size()) {
      const Digest& previous = block == 0 ? s.owner->prefix_seed : s.block_keys[block - 1];
      s.block_keys.push_back(next_block_key(
          hash_, previous, std::span(s.tokens).subspan(block * kPagePositions, kPagePositions)));
    }
    blocks_.publish(s.block_table[block], s.block_keys[block]);
  }
}

// From the last page to the first: of a chain, the cache gives up the end before the beginning.
void Scheduler::give_back(Sequence& s, Content content) {
  while (!s.block_table.empty()) {
    if (content == Content::kDistrust) blocks_.unpublish(s.block_table.back());
    blocks_.release(s.block_table.back());
    s.block_table.pop_back();
  }
  s.computed = s.published = 0;
}

std::unique_ptr<Sequence> Scheduler::remove(Sequence& sequence, Content content) {
  std::unique_ptr<Sequence> taken = take(running_, sequence);
  if (taken != nullptr) {
    --tenant_of(*taken).running;
  } else {
    taken = take(waiting_, sequence);
  }
  assert(taken != nullptr);
  give_back(*taken, content);
  --tenant_of(*taken).live;
  --groups_[static_cast<size_t>(taken->group)].live;
  return taken;
}

Sequence* Scheduler::find(uint64_t request) const {
  for (const Sequences* list : {&running_, &waiting_}) {
    for (const auto& s : *list) {
      if (s->owner->id == request) return s.get();
    }
  }
  return nullptr;
}

}  // namespace chorus
