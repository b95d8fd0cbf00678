#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <semaphore>
#include <thread>
#include <unordered_map>
#include <vector>

#include "engine/engine_loop.h"
#include "http/http_server.h"
#include "server/receiver.h"

namespace chorus {

// Takes requests to the engine and what comes of them back to the clients, on a thread of its own: text, JSON
// and events are made here, never on the engine's thread.
class Delivery {
 public:
  // `engine` and `http` must outlive it, and nobody else may submit to the engine.
  Delivery(Engine& engine, HttpServer& http);
  ~Delivery();  // what runs is cancelled, its clients get an error

  // Submits every request, together; from then on the answer goes its way, and is cancelled when its client
  // leaves. Throws QueueFull or Error, and then nothing of it runs.
  void submit(std::shared_ptr<Receiver> answer);

  // Ends one of an answer's requests; the others go on. False: there was nothing more to come of it.
  bool cancel(Receiver& answer, size_t request);

  int answers() const { return answers_.load(std::memory_order_relaxed); }  // submitted and not finished
  // How long the engine's present step has taken; see EngineLoop.
  std::chrono::milliseconds step_age() const { return loop_->step_age(); }

 private:
  struct Route {
    std::shared_ptr<Receiver> answer;
    size_t request = 0;
  };
  void run(const std::stop_token& stop);
  void deliver(const TokenEvent& event);
  void settle();
  void drop(const std::shared_ptr<Receiver>& answer);
  void abandon(const std::weak_ptr<Receiver>& answer);

  Engine& engine_;
  HttpServer& http_;
  std::mutex mutex_;
  std::unordered_map<uint64_t, Route> routes_;  // by the engine's id
  std::atomic<int> answers_{0};
  std::vector<TokenEvent> events_;                  // of this thread's present turn
  std::vector<std::shared_ptr<Receiver>> touched_;  // by these events
  std::counting_semaphore<> wake_{0};
  std::unique_ptr<EngineLoop> loop_;
  std::jthread thread_;
};

}  // namespace chorus
