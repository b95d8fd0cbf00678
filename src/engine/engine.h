#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/buffer.h"
#include "base/error.h"
#include "engine/batch_builder.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "engine/validate.h"

namespace chorus {

struct EngineConfig {
  std::string model_id;  // of the base: part of every cache key
  int vocab = 0;
  int context_length = 0;
  int pages = 0;                     // of the KV pool
  int max_rows = 512;                // of a step
  int max_sequences = 64;            // running at once; less than max_rows
  int max_queue = 512;               // samples submitted and not ended, beyond max_sequences
  int prefill_chunk = 256;           // prefill rows in a step that also decodes
  int prefill_streams = 4;           // prompts computed side by side
  int max_prompt_logprob_rows = 64;  // of a step
  int max_samples = 8;               // n
  int max_adapters = 8;              // of one request's mix
  int max_lora_floats_per_row = 256;
  std::function<void(int32_t page)> on_page_freed;  // see BlockManager
  // What deadlines and waiting are measured with; null: the steady clock.
  std::function<std::chrono::steady_clock::time_point()> clock;

  // What the forward pass must be able to take.
  int max_logit_rows() const { return max_sequences + max_prompt_logprob_rows; }
  int max_segments() const { return max_sequences * max_adapters; }
};

struct EngineStats {
  uint64_t steps = 0, rows = 0, prefill_tokens = 0, decode_tokens = 0, preemptions = 0, prefix_hit_tokens = 0;
  uint64_t finished = 0, failed = 0, cancelled = 0;  // samples
  int waiting = 0, running = 0;
  int pages_free = 0, pages_cached = 0, pages_used = 0;
};

// The queue is full: the request is fine and may be sent again later.
class QueueFull : public Error {
 public:
  using Error::Error;
};

// Runs one step: fills the KV slots and logits [logit_rows, vocab]. What it throws ends the sequences of the
// batch.
using StepFunction = std::function<void(const Batch& batch, std::span<float> logits)>;

// Receives events during step(); the event is reused afterwards. Must not throw, nor call step().
using EventSink = std::function<void(const TokenEvent& event)>;

// Many requests, one batch. One thread calls step() and wait(); any thread may call the others. Every sample
// of every accepted request ends with exactly one event that carries a finish reason.
class Engine {
 public:
  // Error: a configuration that cannot work.
  Engine(EngineConfig config, StepFunction forward);

  // Error as validate()'s; QueueFull. The id is unique; events of it may be delivered before this returns.
  // Sample 0 reports the prompt's log-probabilities for all.
  uint64_t submit(Request request);
  // All of them or none; no step runs one of them before the others are there. Ids in their order.
  std::vector<uint64_t> submit(std::vector<Request> requests);
  // Takes effect at the next step, which frees the pages. No effect on a request that has ended.
  void cancel(uint64_t request);

  // One step for everybody that can run. False: there was nothing to compute. Allocates nothing, and locks
  // only to take what was submitted.
  bool step(const EventSink& sink);
  // Returns when there is work for step(), or after `timeout`.
  void wait(std::chrono::milliseconds timeout);
  // Ends a wait(), or the next one: ConstraintCompiler's on_ready calls it, for a mask that a sequence
  // waits for.
  void nudge();
  // No sample is waiting or running.
  bool idle() const { return live_.load(std::memory_order_acquire) == 0; }

  EngineStats stats() const;  // lock-free; of the last step
  const EngineConfig& config() const { return config_; }
  const RequestLimits& limits() const { return limits_; }  // what submit() holds requests to

 private:
  using Sequences = std::vector<std::unique_ptr<Sequence>>;
  enum Counter : uint8_t {
    kSteps,
    kRows,
    kPrefillTokens,
    kDecodeTokens,
    kPreemptions,
    kPrefixHitTokens,
    kFinished,
    kFailed,
    kCancelled,
    kWaiting,
    kRunning,
    kPagesFree,
    kPagesCached,
    kPagesUsed,
    kCounters
  };

  std::chrono::steady_clock::time_point now() const;
  Sequences make_sequences(Request request, uint64_t id) const;
  void take_inbox(const EventSink& sink);
  void run(std::span<const ScheduledSequence> plan, const EventSink& sink);
  void fail_plan(std::span<const ScheduledSequence> plan, std::string_view what, const EventSink& sink);
  bool report_scores(const ScheduledSequence& item, size_t first_logit_row, const EventSink& sink);
  bool take_step(const ScheduledSequence& item);
  void sample_token(const ScheduledSequence& item, size_t logit_row, const EventSink& sink);
  FinishReason finish_after(const Sequence& sequence, int32_t token) const;
  std::span<const float> logit_row(size_t index) const;
  void begin_event(const Sequence& sequence);
  void end(Sequence& sequence, FinishReason reason, std::string_view error, const EventSink& sink);
  void drop(Sequence& sequence, FinishReason reason);
  void add(Counter counter, uint64_t amount);
  void set(Counter counter, uint64_t value);
  void update_gauges();

  const EngineConfig config_;
  const RequestLimits limits_;
  const int max_live_;
  StepFunction forward_;

  // Shared with the threads that submit.
  std::mutex mutex_;
  std::condition_variable arrived_;
  Sequences inbox_;
  std::vector<uint64_t> cancels_;
  bool nudged_ = false;
  uint64_t next_arrival_ = 0;
  std::atomic<uint64_t> next_request_{1};
  std::atomic<int> live_{0};
  std::array<std::atomic<uint64_t>, kCounters> counters_{};

  // The step's own.
  Sequences taken_;
  std::vector<uint64_t> taken_cancels_;
  BlockManager blocks_;
  Scheduler scheduler_;
  BatchBuilder builder_;
  Sampler sampler_;
  Buffer<float> logits_;
  TokenEvent event_;
  bool stalled_ = false;  // whoever could run waits for a mask
};

}  // namespace chorus
