#include "server/delivery.h"

#include <algorithm>
#include <utility>

namespace chorus {

Delivery::Delivery(Engine& engine, HttpServer& http)
    : engine_(engine),
      http_(http),
      loop_(std::make_unique<EngineLoop>(engine, [this] { wake_.release(); })),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

Delivery::~Delivery() {
  loop_->stop();
  thread_.request_stop();
  wake_.release();
  thread_.join();
  const ApiError error(503, "unavailable_error", "the server is shutting down");
  for (auto& [id, route] : routes_) {
    route.answer->exchange().on_gone({});
    route.answer->fail(error);
  }
}

void Delivery::submit(std::shared_ptr<Receiver> answer) {
  {
    // Events of a request may be there before submit() returns its id; they wait for this lock.
    const std::lock_guard lock(mutex_);
    answer->ids = engine_.submit(answer->requests());
    for (size_t i = 0; i < answer->ids.size(); ++i) routes_[answer->ids[i]] = {answer, i};
    answers_.fetch_add(1, std::memory_order_relaxed);
  }
  answer->exchange().on_gone([this, weak = std::weak_ptr(answer)] { abandon(weak); });
}

// With the lock held: the engine's work for it ends, and its events go nowhere.
void Delivery::drop(const std::shared_ptr<Receiver>& answer) {
  for (const uint64_t id : answer->ids) {
    if (routes_.erase(id) > 0) engine_.cancel(id);
  }
}

void Delivery::abandon(const std::weak_ptr<Receiver>& weak) {
  const std::shared_ptr<Receiver> answer = weak.lock();
  if (answer == nullptr) return;
  const std::lock_guard lock(mutex_);
  if (answer->over()) return;
  answer->fail(ApiError(499, "cancelled_error", "the client has gone"));
  drop(answer);
  answers_.fetch_sub(1, std::memory_order_relaxed);
}

bool Delivery::cancel(Receiver& answer, size_t request) {
  const std::lock_guard lock(mutex_);
  if (answer.over() || answer.done(request)) return false;
  engine_.cancel(answer.ids[request]);  // which says so by an event of its own
  return true;
}

void Delivery::run(const std::stop_token& stop) {
  for (;;) {
    wake_.acquire();
    if (stop.stop_requested()) return;
    loop_->take(events_);
    const std::lock_guard lock(mutex_);
    for (const TokenEvent& event : events_) deliver(event);
    settle();
  }
}

void Delivery::deliver(const TokenEvent& event) {
  const auto found = routes_.find(event.request);
  if (found == routes_.end()) return;
  const Route route = found->second;
  Receiver& answer = *route.answer;
  answer.push(route.request, event);
  if (answer.idle_work(route.request)) {
    routes_.erase(found);
    engine_.cancel(event.request);
  }
  if (!std::exchange(answer.touched, true)) touched_.push_back(route.answer);
}

// Sends what this turn's events have made, once for each answer.
void Delivery::settle() {
  const HttpServer::WriteBatch batch(http_);
  for (const std::shared_ptr<Receiver>& answer : touched_) {
    answer->touched = false;
    answer->flush();
    if (!answer->over()) continue;
    answer->exchange().on_gone({});
    drop(answer);
    answers_.fetch_sub(1, std::memory_order_relaxed);
  }
  touched_.clear();
}

}  // namespace chorus
