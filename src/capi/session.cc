#include "capi/session.h"

#include <algorithm>
#include <utility>

namespace chorus {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begun) {
  return std::chrono::duration<double>(Clock::now() - begun).count();
}

chorus_finish finish_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone:
      return CHORUS_FINISH_NONE;
    case FinishReason::kStop:
      return CHORUS_FINISH_STOP;
    case FinishReason::kLength:
      return CHORUS_FINISH_LENGTH;
    case FinishReason::kCancelled:
      return CHORUS_FINISH_CANCELLED;
    case FinishReason::kExpired:
    case FinishReason::kError:
      return CHORUS_FINISH_ERROR;
  }
  return CHORUS_FINISH_ERROR;
}

}  // namespace

Session::Session(const std::string& path, const RuntimeOptions& options)
    : runtime_(std::make_unique<Runtime>(path, options)) {
  loop_ = std::make_unique<EngineLoop>(runtime_->engine(), [this] {
    {
      const std::lock_guard lock(wake_mutex_);
      ++wakes_;
    }
    wake_.notify_all();
  });
}

Runtime& Session::runtime() {
  if (runtime_ == nullptr) fail("the model is closed");
  return *runtime_;
}

std::shared_ptr<VoiceSet> Session::submit(std::vector<VoiceRequest> requests) {
  auto set = std::make_shared<VoiceSet>();
  std::vector<Request> submitted;
  for (VoiceRequest& request : requests) {
    VoiceSet::Voice& voice = set->voices.emplace_back();
    voice.stream.emplace(runtime().tokenizer(), std::move(request.stops));
    voice.prompt_tokens = static_cast<int>(request.request.prompt.size());
    submitted.push_back(std::move(request.request));
  }
  set->open = set->voices.size();
  set->begun = Clock::now();
  // All that needs memory comes before the engine has them.
  Routes made;
  for (size_t i = 0; i < set->voices.size(); ++i) made[i] = {set.get(), i};
  const std::lock_guard lock(mutex_);  // events may be there before submit() returns: they wait for this
  routes_.reserve(routes_.size() + made.size());
  const std::vector<uint64_t> ids = runtime().engine().submit(std::move(submitted));
  for (size_t i = 0; i < ids.size(); ++i) {
    set->voices[i].id = ids[i];
    auto node = made.extract(i);
    node.key() = ids[i];
    routes_.insert(std::move(node));
  }
  return set;
}

int Session::next(VoiceSet& set, VoiceEvent& event, int timeout_ms) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(std::max(timeout_ms, 0));
  for (;;) {
    uint64_t seen = 0;
    {
      const std::lock_guard lock(wake_mutex_);
      seen = wakes_;
    }
    {
      const std::lock_guard lock(mutex_);
      pump();
      if (!set.events.empty()) {
        event = std::move(set.events.front());
        set.events.pop_front();
        return 1;
      }
      if (set.open == 0) return -1;
    }
    std::unique_lock lock(wake_mutex_);
    const auto woken = [&] { return wakes_ != seen; };
    if (timeout_ms < 0)
      wake_.wait(lock, woken);
    else if (!wake_.wait_until(lock, deadline, woken))
      return 0;
  }
}

void Session::cancel(VoiceSet& set, size_t voice) {
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < set.voices.size(); ++i) {
    const bool meant = (voice == CHORUS_ALL || voice == i) && !set.voices[i].done;
    if (meant && runtime_ != nullptr) runtime_->engine().cancel(set.voices[i].id);
  }
}

void Session::release(VoiceSet& set) {
  const std::lock_guard lock(mutex_);
  for (const VoiceSet::Voice& voice : set.voices) {
    if (routes_.erase(voice.id) > 0) runtime_->engine().cancel(voice.id);
  }
}

void Session::close() {
  if (runtime_ == nullptr) return;
  loop_->stop();
  {
    const std::lock_guard lock(mutex_);
    pump();
    const auto routes = std::exchange(routes_, {});
    for (const auto& [id, route] : routes) end(*route.set, route.voice, CHORUS_FINISH_CANCELLED, "");
    loop_.reset();
    runtime_.reset();
  }
  const std::lock_guard lock(wake_mutex_);
  ++wakes_;
  wake_.notify_all();
}

// With the lock held, as all below.
void Session::pump() {
  if (loop_ == nullptr) return;
  // One that there is no memory for is lost, the others are not.
  do {
    while (pushed_ < taken_.size()) push(taken_[pushed_++]);
    pushed_ = 0;
    loop_->take(taken_);
  } while (!taken_.empty());
}

void Session::push(const TokenEvent& event) {
  const auto found = routes_.find(event.request);
  if (found == routes_.end()) return;
  const auto [set, index] = found->second;
  VoiceSet::Voice& voice = set->voices[index];
  if (event.token >= 0) {
    if (voice.tokens++ == 0) voice.first_token_seconds = seconds_since(set->begun);
    // The token of a stop id ends the text and is no part of it.
    if (event.finish != FinishReason::kStop) say(*set, index, voice.stream->push(event.token));
  }
  const bool stopped = voice.stream->stopped();
  if (event.finish == FinishReason::kNone && !stopped) return;
  if (event.finish == FinishReason::kNone) runtime_->engine().cancel(event.request);
  say(*set, index, voice.stream->finish());
  routes_.erase(found);
  end(*set, index, stopped ? CHORUS_FINISH_STOP : finish_of(event.finish), event.error);
}

void Session::say(VoiceSet& set, size_t voice, const std::string& piece) {
  if (piece.empty()) return;
  set.voices[voice].text += piece;
  set.events.push_back({.kind = CHORUS_EVENT_TEXT, .voice = voice, .text = piece, .message = {}});
}

void Session::end(VoiceSet& set, size_t voice, chorus_finish finish, const std::string& message) {
  VoiceSet::Voice& of = set.voices[voice];
  of.done = true;
  of.stream.reset();
  --set.open;
  set.events.push_back({.kind = CHORUS_EVENT_DONE,
                        .voice = voice,
                        .text = of.text,
                        .message = finish == CHORUS_FINISH_ERROR ? message : "",
                        .finish = finish,
                        .prompt_tokens = of.prompt_tokens,
                        .tokens = of.tokens,
                        .first_token_seconds = of.first_token_seconds,
                        .seconds = seconds_since(set.begun)});
}

}  // namespace chorus
