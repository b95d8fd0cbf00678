#include "grammar/constraint.h"

#include <algorithm>
#include <cassert>
#include <list>
#include <mutex>
#include <unordered_map>

#include "base/error.h"
#include "grammar/mask_builder.h"

namespace chorus {
namespace {

constexpr uint64_t kCompileSteps = 20'000'000;

}  // namespace

struct ConstraintCompiler::Impl {
  struct Entry {
    std::string key;
    ConstraintHandle constraint;
    size_t bytes() const { return key.size() * 2 + constraint->bytes(); }
  };

  std::shared_ptr<MaskBuilder> builder;
  ConstraintLimits limits;
  std::mutex mutex;
  std::list<Entry> entries;  // the last used first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_key;

  ConstraintHandle find(const std::string& key) {
    const std::lock_guard lock(mutex);
    const auto found = by_key.find(key);
    if (found == by_key.end()) return nullptr;
    entries.splice(entries.begin(), entries, found->second);
    return found->second->constraint;
  }

  // Or what another thread has put there meanwhile. What is dropped is destroyed after the lock.
  ConstraintHandle insert(const std::string& key, ConstraintHandle constraint) {
    std::list<Entry> dropped;
    const std::lock_guard lock(mutex);
    if (const auto found = by_key.find(key); found != by_key.end()) return found->second->constraint;
    entries.push_front({key, constraint});
    by_key.emplace(entries.front().key, entries.begin());
    size_t bytes = 0;
    for (auto entry = entries.begin(); entry != entries.end();) {
      bytes += entry->bytes();
      const auto at = entry++;
      if (bytes <= limits.cache_bytes || at == entries.begin()) continue;
      by_key.erase(at->key);
      dropped.splice(dropped.end(), entries, at);
    }
    return constraint;
  }
};

ConstraintCompiler::ConstraintCompiler(const Tokenizer& tokenizer, std::vector<int32_t> stop_ids,
                                       std::function<void()> on_ready, ConstraintLimits limits)
    : impl_(std::make_unique<Impl>()) {
  impl_->limits = limits;
  impl_->builder = std::make_shared<MaskBuilder>(tokenizer, std::move(stop_ids), std::move(on_ready));
}

ConstraintCompiler::~ConstraintCompiler() { impl_->builder->stop(); }

ConstraintHandle ConstraintCompiler::compile(const std::string& key, const std::function<Grammar()>& make) {
  if (ConstraintHandle cached = impl_->find(key)) return cached;
  const auto time = impl_->limits.compile_time;
  WorkBudget budget(kCompileSteps, WorkBudget::Clock::now() + time, time);
  const Grammar grammar = make();
  budget.check_time();
  return impl_->insert(key,
                       std::make_shared<const Constraint>(grammar, impl_->builder, impl_->limits, budget));
}

struct ConstraintState::Impl {
  std::shared_ptr<ConstraintJob> job;
};

ConstraintState::ConstraintState(ConstraintHandle constraint) : impl_(std::make_unique<Impl>()) {
  impl_->job = std::make_shared<ConstraintJob>();
  impl_->job->place = constraint->start();
  impl_->job->constraint = std::move(constraint);
}

ConstraintState::ConstraintState(ConstraintState&&) noexcept = default;
ConstraintState& ConstraintState::operator=(ConstraintState&&) noexcept = default;
ConstraintState::~ConstraintState() = default;

bool ConstraintState::ready() const {
  return impl_->job->phase.load(std::memory_order_acquire) != ConstraintJob::Phase::kPending;
}

bool ConstraintState::failed() const {
  return impl_->job->phase.load(std::memory_order_acquire) == ConstraintJob::Phase::kFailed;
}

const std::string& ConstraintState::error() const { return impl_->job->error; }

std::span<const uint64_t> ConstraintState::mask() const {
  assert(ready() && !failed());
  return impl_->job->place.state->mask.load(std::memory_order_acquire)->bits;
}

bool ConstraintState::must_end() const {
  assert(ready() && !failed());
  return impl_->job->place.state->mask.load(std::memory_order_acquire)->only_stops;
}

bool ConstraintState::is_stop(int32_t token) const {
  const std::vector<int32_t>& stops = impl_->job->constraint->vocabulary().stops;
  return std::ranges::find(stops, token) != stops.end();
}

void ConstraintState::advance(int32_t token) {
  assert(ready() && !failed());
  if (is_stop(token)) return;
  ConstraintJob& job = *impl_->job;
  const Automaton& automaton = job.place.generation->automaton;
  const std::string_view text = automaton.trie().text(token);
  GrammarState* state = job.place.state;
  size_t taken = 0;
  for (; taken < text.size() && state != automaton.dead(); ++taken) {
    const uint8_t byte_class = automaton.program().class_of[static_cast<uint8_t>(text[taken])];
    GrammarState* next = state->next[byte_class].load(std::memory_order_acquire);
    if (next == nullptr) break;
    state = next;
  }
  assert(state != automaton.dead());
  job.place.state = state;
  if (taken == text.size() && state->mask.load(std::memory_order_acquire) != nullptr &&
      !job.place.generation->retired.load(std::memory_order_relaxed))
    return;
  job.rest = text.substr(taken);
  job.phase.store(ConstraintJob::Phase::kPending, std::memory_order_relaxed);
  job.constraint->builder().post(impl_->job);
}

}  // namespace chorus
