#include "grammar/mask_builder.h"

#include <algorithm>
#include <exception>

#include "base/error.h"

namespace chorus {
namespace {

constexpr uint64_t kJobSteps = 4'000'000;  // some tenths of a second
constexpr size_t kMaxRetired = 4;          // generations of one grammar that answers still hold

}  // namespace

Constraint::Constraint(const Grammar& grammar, std::shared_ptr<MaskBuilder> builder,
                       const ConstraintLimits& limits, WorkBudget& budget)
    : builder_(std::move(builder)),
      limits_(limits),
      program_(lower(grammar, vocabulary().trie.usable(), limits.bytes / 2, budget)) {
  start_.generation = std::make_shared<Generation>(program_, vocabulary());
  Automaton& automaton = start_.generation->automaton;
  start_.state = automaton.start(budget);
  automaton.build_mask(start_.state, budget);
  budget.check_time();
  note_bytes(*start_.generation);
  if (bytes() > limits.bytes) fail("the grammar needs more than {} MiB", limits.bytes >> 20);
}

const Vocabulary& Constraint::vocabulary() const { return builder_->vocabulary(); }

Constraint::Place Constraint::start() const {
  const std::lock_guard lock(mutex_);
  return start_;
}

void Constraint::note_bytes(const Generation& generation) const {
  bytes_.store(program_.bytes() + generation.automaton.bytes(), std::memory_order_relaxed);
}

bool Constraint::full(const Generation& generation) const {
  return generation.automaton.masked_states() > limits_.states ||
         program_.bytes() + generation.automaton.bytes() > limits_.bytes;
}

Constraint::Place Constraint::in_current(const Place& place) const {
  Place current = start();
  if (place.generation == current.generation && !full(*current.generation)) return place;
  if (full(*current.generation)) {
    std::erase_if(retired_, [](const auto& generation) { return generation.expired(); });
    if (retired_.size() >= kMaxRetired) fail("the grammar has more states than {}", limits_.states);
    Place fresh = {std::make_shared<Generation>(program_, vocabulary()), nullptr};
    Automaton& automaton = fresh.generation->automaton;
    fresh.state = automaton.adopt(current.generation->automaton, *current.state);
    WorkBudget budget(kJobSteps);
    automaton.build_mask(fresh.state, budget);
    current.generation->retired.store(true, std::memory_order_release);
    retired_.push_back(current.generation);
    const std::lock_guard lock(mutex_);
    start_ = current = fresh;
  }
  return {current.generation, current.generation->automaton.adopt(place.generation->automaton, *place.state)};
}

MaskBuilder::MaskBuilder(const Tokenizer& tokenizer, std::vector<int32_t> stop_ids,
                         std::function<void()> on_ready)
    : vocabulary_(tokenizer, std::move(stop_ids)),
      on_ready_(std::move(on_ready)),
      thread_([this] { run(); }) {}

MaskBuilder::~MaskBuilder() { stop(); }

void MaskBuilder::stop() {
  if (!thread_.joinable()) return;
  stopping_.store(true);
  signal_.fetch_add(1);
  signal_.notify_one();
  thread_.join();
  while (ConstraintJob* job = take()) job->self.reset();
}

void MaskBuilder::post(std::shared_ptr<ConstraintJob> job) {
  if (stopping_.load(std::memory_order_relaxed)) return;
  ConstraintJob* raw = job.get();
  raw->self = std::move(job);
  raw->next = posted_.load(std::memory_order_relaxed);
  while (!posted_.compare_exchange_weak(raw->next, raw, std::memory_order_release, std::memory_order_relaxed))
    continue;
  signal_.fetch_add(1, std::memory_order_release);
  signal_.notify_one();
}

// The oldest that waits, or nullptr.
ConstraintJob* MaskBuilder::take() {
  if (taken_ == nullptr) {
    ConstraintJob* latest = posted_.exchange(nullptr, std::memory_order_acquire);
    while (latest != nullptr) {
      ConstraintJob* before = latest->next;
      latest->next = taken_;
      taken_ = latest;
      latest = before;
    }
  }
  ConstraintJob* job = taken_;
  if (job != nullptr) taken_ = job->next;
  return job;
}

void MaskBuilder::run() {
  while (!stopping_.load(std::memory_order_acquire)) {
    const uint32_t signal = signal_.load(std::memory_order_acquire);
    if (ConstraintJob* job = take()) {
      const std::shared_ptr<ConstraintJob> held = std::move(job->self);
      if (held.use_count() > 1) work(*held);
    } else {
      signal_.wait(signal, std::memory_order_acquire);
    }
  }
}

void MaskBuilder::work(ConstraintJob& job) {
  auto phase = ConstraintJob::Phase::kReady;
  try {
    WorkBudget budget(kJobSteps);
    Constraint::Place place = job.constraint->in_current(job.place);
    Automaton& automaton = place.generation->automaton;
    for (const char byte : job.rest) {
      if (place.state == automaton.dead()) break;
      place.state = automaton.step(place.state, static_cast<uint8_t>(byte), budget);
    }
    if (place.state == automaton.dead()) fail("a token was taken that the grammar does not allow");
    automaton.build_mask(place.state, budget);
    job.constraint->note_bytes(*place.generation);
    job.place = std::move(place);
  } catch (const std::exception& error) {
    job.error = error.what();
    phase = ConstraintJob::Phase::kFailed;
  }
  job.phase.store(phase, std::memory_order_release);
  on_ready_();
}

}  // namespace chorus
