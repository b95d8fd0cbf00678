#include "engine/engine.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "engine/prefix_key.h"

namespace chorus {
namespace {

constexpr std::string_view kBadLogits =
    "the model's logits are NaN or infinite, or no token may be sampled from them";

EngineConfig checked(EngineConfig config) {
  if (config.vocab < 1 || config.context_length < 1 || config.pages < 1)
    fail("engine: vocab {}, context_length {} and pages {} must be at least 1", config.vocab,
         config.context_length, config.pages);
  if (config.max_sequences < 1 || config.max_rows <= config.max_sequences)
    fail("engine: max_sequences is {} and max_rows {}; at least 1, and more rows than sequences",
         config.max_sequences, config.max_rows);
  for (const int value : {config.prefill_chunk, config.prefill_streams, config.max_prompt_logprob_rows,
                          config.max_samples, config.max_adapters}) {
    if (value < 1)
      fail(
          "engine: prefill_chunk, prefill_streams, max_prompt_logprob_rows, max_samples, max_adapters: at "
          "least 1");
  }
  if (config.max_queue < 0 || config.max_lora_floats_per_row < 0)
    fail("engine: max_queue is {} and max_lora_floats_per_row {}; at least 0", config.max_queue,
         config.max_lora_floats_per_row);
  return config;
}

RequestLimits request_limits(const EngineConfig& config) {
  RequestLimits limits;
  limits.vocab = config.vocab;
  limits.context_length = config.context_length;
  limits.pages = config.pages;
  limits.max_samples = config.max_samples;
  limits.max_adapters = config.max_adapters;
  limits.max_lora_floats_per_row = config.max_lora_floats_per_row;
  return limits;
}

SchedulerConfig scheduler_config(const EngineConfig& config, int max_live) {
  return {config.max_rows,        config.max_sequences,           config.prefill_chunk,
          config.prefill_streams, config.max_prompt_logprob_rows, max_live};
}

}  // namespace

Engine::Engine(EngineConfig config, StepFunction forward)
    : config_(checked(std::move(config))),
      limits_(request_limits(config_)),
      max_live_(config_.max_sequences + config_.max_queue),
      forward_(std::move(forward)),
      blocks_(config_.pages, config_.on_page_freed),
      scheduler_(scheduler_config(config_, max_live_), blocks_),
      builder_({config_.max_rows, config_.max_sequences, config_.max_segments(), config_.max_logit_rows()}),
      sampler_(config_.vocab, limits_.max_top_logprobs),
      logits_(static_cast<size_t>(config_.max_logit_rows()) * static_cast<size_t>(config_.vocab)) {
  inbox_.reserve(static_cast<size_t>(max_live_));
  taken_.reserve(static_cast<size_t>(max_live_));
  event_.top.reserve(static_cast<size_t>(limits_.max_top_logprobs));
  update_gauges();
}

// Everything a request will ever need is allocated here, on the thread of who submits it.
Engine::Sequences Engine::make_sequences(Request request, uint64_t id) const {
  auto state = std::make_shared<RequestState>();
  state->id = id;
  Sha256 hash;
  state->prefix_seed = prefix_seed(hash, config_.model_id, request.tenant, request.adapters);
  state->adapter_key = adapter_key(hash, request.adapters);
  state->tenant_key = tenant_key(hash, request.tenant);
  state->submitted = now();
  state->request = std::move(request);
  const std::vector<int32_t>& prompt = state->request.prompt;
  const size_t positions = static_cast<size_t>(max_positions(state->request));
  const size_t blocks = (positions + kPagePositions - 1) / kPagePositions;

  Sequences sequences;
  for (int i = 0; i < state->request.samples; ++i) {
    auto s = std::make_unique<Sequence>();
    s->owner = state;
    s->sample = i;
    s->tokens.reserve(positions + 1);
    s->tokens = prompt;
    if (state->request.constraint != nullptr) s->constraint.emplace(state->request.constraint);
    s->block_table.reserve(blocks);
    s->block_keys.reserve(blocks);
    if (i > 0) s->block_keys = sequences[0]->block_keys;
    for (size_t end = kPagePositions; i == 0 && end <= prompt.size(); end += kPagePositions) {
      const Digest& previous = s->block_keys.empty() ? state->prefix_seed : s->block_keys.back();
      s->block_keys.push_back(
          next_block_key(hash, previous, std::span(prompt).subspan(end - kPagePositions, kPagePositions)));
    }
    sequences.push_back(std::move(s));
  }
  return sequences;
}

uint64_t Engine::submit(Request request) {
  std::vector<Request> one;
  one.push_back(std::move(request));
  return submit(std::move(one))[0];
}

std::vector<uint64_t> Engine::submit(std::vector<Request> requests) {
  for (const Request& request : requests) validate(request, limits_);
  std::vector<uint64_t> ids;
  Sequences sequences;
  for (Request& request : requests) {
    ids.push_back(next_request_.fetch_add(1, std::memory_order_relaxed));
    std::ranges::move(make_sequences(std::move(request), ids.back()), std::back_inserter(sequences));
  }
  const int samples = static_cast<int>(sequences.size());
  {
    const std::lock_guard lock(mutex_);
    const int live = live_.load(std::memory_order_relaxed);
    if (samples > max_live_ - live)
      throw QueueFull(fmt::format("{} samples are waiting or running and {} more do not fit; at most {}",
                                  live, samples, max_live_));
    live_.fetch_add(samples, std::memory_order_relaxed);
    for (auto& s : sequences) {
      s->arrival = next_arrival_++;
      inbox_.push_back(std::move(s));
    }
  }
  arrived_.notify_one();
  return ids;
}

void Engine::cancel(uint64_t request) {
  {
    const std::lock_guard lock(mutex_);
    if (std::find(cancels_.begin(), cancels_.end(), request) == cancels_.end()) cancels_.push_back(request);
  }
  arrived_.notify_one();
}

void Engine::wait(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  arrived_.wait_for(lock, timeout, [&] {
    return nudged_ || !cancels_.empty() || !inbox_.empty() || (live_.load() > 0 && !stalled_);
  });
  nudged_ = false;
}

void Engine::nudge() {
  {
    const std::lock_guard lock(mutex_);
    nudged_ = true;
  }
  arrived_.notify_one();
}

std::chrono::steady_clock::time_point Engine::now() const {
  return config_.clock ? config_.clock() : std::chrono::steady_clock::now();
}

bool Engine::step(const EventSink& sink) {
  take_inbox(sink);
  const auto time = now();
  while (Sequence* late = scheduler_.find_expired(time)) end(*late, FinishReason::kExpired, {}, sink);
  const std::span<const ScheduledSequence> plan = scheduler_.schedule(time);
  if (!plan.empty()) run(plan, sink);
  stalled_ = plan.empty() && scheduler_.running() > 0;
  update_gauges();
  return !plan.empty();
}

void Engine::take_inbox(const EventSink& sink) {
  {
    const std::lock_guard lock(mutex_);
    taken_.swap(inbox_);
    taken_cancels_.swap(cancels_);
  }
  for (auto& s : taken_) scheduler_.add(std::move(s));
  taken_.clear();
  for (const uint64_t request : taken_cancels_) {
    while (Sequence* s = scheduler_.find(request)) end(*s, FinishReason::kCancelled, {}, sink);
  }
  taken_cancels_.clear();
}

void Engine::run(std::span<const ScheduledSequence> plan, const EventSink& sink) {
  const Batch batch = builder_.build(plan);
  const size_t logits = batch.logit_rows.size() * static_cast<size_t>(config_.vocab);
  add(kSteps, 1);
  add(kRows, static_cast<uint64_t>(batch.rows()));
  try {
    forward_(batch, logits_.span().first(logits));
  } catch (const std::exception& error) {
    fail_plan(plan, error.what(), sink);
    return;
  } catch (...) {
    fail_plan(plan, "the forward pass failed", sink);
    return;
  }
  size_t row = 0;
  for (const ScheduledSequence& item : plan) {
    Sequence& s = *item.sequence;
    const size_t first_row = row, scores = static_cast<size_t>(item.score_end - item.score_begin);
    row += scores + (item.samples ? 1 : 0);
    add(item.rows == 1 && s.generated() > 0 ? kDecodeTokens : kPrefillTokens,
        static_cast<uint64_t>(item.rows));
    const bool samples = take_step(item);
    if (!report_scores(item, first_row, sink)) continue;
    if (samples) {
      sample_token(item, first_row + scores, sink);
    } else if (s.remaining() == 0) {  // max_tokens is 0
      end(s, FinishReason::kLength, {}, sink);
    }
  }
}

// Whether a token is to be sampled. Where the mask for it is not there yet, which it had the whole step for,
// the last row is left to be computed again: rows cost the same bits every time.
bool Engine::take_step(const ScheduledSequence& item) {
  Sequence& s = *item.sequence;
  s.awaits_mask = item.samples && s.constraint && !s.constraint->ready();
  scheduler_.advance(s, item.rows - (s.awaits_mask ? 1 : 0));
  return item.samples && !s.awaits_mask;
}

void Engine::fail_plan(std::span<const ScheduledSequence> plan, std::string_view what,
                       const EventSink& sink) {
  for (const ScheduledSequence& item : plan) end(*item.sequence, FinishReason::kError, what, sink);
}

std::span<const float> Engine::logit_row(size_t index) const {
  const size_t vocab = static_cast<size_t>(config_.vocab);
  return logits_.span().subspan(index * vocab, vocab);
}

// False: the sequence has ended.
bool Engine::report_scores(const ScheduledSequence& item, size_t first_logit_row, const EventSink& sink) {
  Sequence& s = *item.sequence;
  const int top = std::max(s.request().sampling.top_logprobs, 0);
  for (int i = item.score_begin; i < item.score_end; ++i) {
    const int32_t token = s.tokens[static_cast<size_t>(s.scored) + 1];
    const Sampled scored = sampler_.score(logit_row(first_logit_row++), token, top);
    if (scored.token < 0) {
      end(s, FinishReason::kError, kBadLogits, sink);
      return false;
    }
    ++s.scored;
    begin_event(s);
    event_.token = token;
    event_.logprob = scored.logprob;
    event_.top.assign(scored.top.begin(), scored.top.end());
    sink(event_);
  }
  return true;
}

void Engine::sample_token(const ScheduledSequence& item, size_t row, const EventSink& sink) {
  Sequence& s = *item.sequence;
  const Request& request = s.request();
  SampleArgs args;
  args.logits = logit_row(row);
  args.params = &request.sampling;
  args.prompt = request.prompt;
  args.output = std::span(s.tokens).subspan(request.prompt.size());
  if (s.generated() < request.min_tokens && !request.ignore_stop_ids) args.banned = request.stop_ids;
  if (s.constraint) {
    if (s.constraint->failed()) return end(s, FinishReason::kError, s.constraint->error(), sink);
    args.allowed = s.constraint->mask();
  }
  args.sample = s.sample;
  args.position = s.size();
  const Sampled sampled = sampler_.sample(args);
  if (sampled.token < 0) {
    end(s, FinishReason::kError, kBadLogits, sink);
    return;
  }
  s.tokens.push_back(sampled.token);
  begin_event(s);
  event_.token = sampled.token;
  event_.logprob = sampled.logprob;
  event_.top.assign(sampled.top.begin(), sampled.top.end());
  event_.finish = finish_after(s, sampled.token);
  if (s.generated() == 1) {
    event_.queue_seconds = s.queue_seconds;
    event_.prefix_hit_tokens = s.prefix_hit_tokens;
  }
  sink(event_);
  if (event_.finish != FinishReason::kNone) {
    drop(s, event_.finish);
  } else if (s.constraint) {
    s.constraint->advance(sampled.token);
  }
}

FinishReason Engine::finish_after(const Sequence& s, int32_t token) const {
  const Request& request = s.request();
  const std::vector<int32_t>& stops = request.stop_ids;
  if (!request.ignore_stop_ids && std::find(stops.begin(), stops.end(), token) != stops.end())
    return FinishReason::kStop;
  if (s.constraint && s.constraint->is_stop(token)) return FinishReason::kStop;
  return s.generated() >= request.max_tokens ? FinishReason::kLength : FinishReason::kNone;
}

void Engine::begin_event(const Sequence& s) {
  event_.request = s.owner->id;
  event_.sample = s.sample;
  event_.token = -1;
  event_.logprob = 0;
  event_.top.clear();
  event_.finish = FinishReason::kNone;
  event_.error.clear();
  event_.queue_seconds = 0;
  event_.prefix_hit_tokens = 0;
}

void Engine::end(Sequence& s, FinishReason reason, std::string_view error, const EventSink& sink) {
  begin_event(s);
  event_.finish = reason;
  event_.error = error;
  sink(event_);
  drop(s, reason);
}

void Engine::drop(Sequence& s, FinishReason reason) {
  const bool failed = reason == FinishReason::kError;
  const bool dropped = reason == FinishReason::kCancelled || reason == FinishReason::kExpired;
  add(failed ? kFailed : dropped ? kCancelled : kFinished, 1);
  scheduler_.remove(s, failed ? Scheduler::Content::kDistrust : Scheduler::Content::kKeep);
  live_.fetch_sub(1, std::memory_order_release);
}

// Only the thread of step() writes, so no read-modify-write is needed.
void Engine::set(Counter counter, uint64_t value) {
  counters_[counter].store(value, std::memory_order_relaxed);
}

void Engine::add(Counter counter, uint64_t amount) {
  set(counter, counters_[counter].load(std::memory_order_relaxed) + amount);
}

void Engine::update_gauges() {
  set(kPreemptions, scheduler_.preemptions());
  set(kPrefixHitTokens, scheduler_.prefix_hit_tokens());
  set(kWaiting, static_cast<uint64_t>(scheduler_.waiting()));
  set(kRunning, static_cast<uint64_t>(scheduler_.running()));
  set(kPagesFree, static_cast<uint64_t>(blocks_.free_pages()));
  set(kPagesCached, static_cast<uint64_t>(blocks_.cached_pages()));
  set(kPagesUsed, static_cast<uint64_t>(blocks_.used_pages()));
}

EngineStats Engine::stats() const {
  const auto get = [&](Counter counter) { return counters_[counter].load(std::memory_order_relaxed); };
  EngineStats stats;
  stats.steps = get(kSteps);
  stats.rows = get(kRows);
  stats.prefill_tokens = get(kPrefillTokens);
  stats.decode_tokens = get(kDecodeTokens);
  stats.preemptions = get(kPreemptions);
  stats.prefix_hit_tokens = get(kPrefixHitTokens);
  stats.finished = get(kFinished);
  stats.failed = get(kFailed);
  stats.cancelled = get(kCancelled);
  stats.waiting = static_cast<int>(get(kWaiting));
  stats.running = static_cast<int>(get(kRunning));
  stats.pages_free = static_cast<int>(get(kPagesFree));
  stats.pages_cached = static_cast<int>(get(kPagesCached));
  stats.pages_used = static_cast<int>(get(kPagesUsed));
  return stats;
}

}  // namespace chorus
