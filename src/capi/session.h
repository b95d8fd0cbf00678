#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "capi/voice.h"
#include "engine/engine_loop.h"
#include "engine/text_stream.h"

namespace chorus {

// What a voice has come to.
struct VoiceEvent {
  chorus_event_kind kind = CHORUS_EVENT_TEXT;
  size_t voice = 0;
  std::string text, message;
  chorus_finish finish = CHORUS_FINISH_NONE;
  int prompt_tokens = 0, tokens = 0;
  double first_token_seconds = 0, seconds = 0;
};

class Session;

// Voices that were submitted together. What is in it is its session's to guard.
struct VoiceSet {
  struct Voice {
    uint64_t id = 0;  // the engine's
    std::optional<TextStream> stream;
    std::string text;
    int prompt_tokens = 0, tokens = 0;
    double first_token_seconds = 0;
    bool done = false;
  };
  std::vector<Voice> voices;
  std::deque<VoiceEvent> events;
  size_t open = 0;  // voices that have not ended
  std::chrono::steady_clock::time_point begun;
};

// A model and those who speak with it. Whoever waits for an event of theirs also makes text of the events of
// all others, so that nothing but the engine needs a thread. Thread-safe, but for close(): nobody else may be
// in here then but in next().
class Session {
 public:
  Session(const std::string& path, const RuntimeOptions& options);
  ~Session() { close(); }

  Runtime& runtime();  // Error: it is closed
  std::shared_ptr<VoiceSet> submit(std::vector<VoiceRequest> requests);
  // 1, 0 or -1, as chorus_next().
  int next(VoiceSet& set, VoiceEvent& event, int timeout_ms);
  void cancel(VoiceSet& set, size_t voice);
  void release(VoiceSet& set);  // what runs is cancelled and not heard of again
  void close();

 private:
  struct Route {
    VoiceSet* set;
    size_t voice;
  };
  void pump();
  void push(const TokenEvent& event);
  void say(VoiceSet& set, size_t voice, const std::string& piece);
  void end(VoiceSet& set, size_t voice, chorus_finish finish, const std::string& message);

  std::mutex mutex_;
  std::unique_ptr<Runtime> runtime_;
  std::unique_ptr<EngineLoop> loop_;
  using Routes = std::unordered_map<uint64_t, Route>;  // by the engine's id
  Routes routes_;
  std::vector<TokenEvent> taken_;
  size_t pushed_ = 0;  // of those taken
  std::mutex wake_mutex_;
  std::condition_variable wake_;
  uint64_t wakes_ = 0;
};

}  // namespace chorus
