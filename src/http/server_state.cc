#include "http/server_state.h"

#include <openssl/rand.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "base/error.h"
#include "http/connection.h"

namespace chorus {

namespace {

constexpr std::chrono::milliseconds kSweepPeriod{250};

uint64_t random_number() {
  uint64_t number;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(&number), sizeof number) != 1)
    fail("no random bytes to be had for the ids of requests");
  return number;
}

// Connections leave the table while they are closed.
template <typename Wanted>
std::vector<std::shared_ptr<Connection>> select(const IoThread& io, Wanted wanted) {
  std::vector<std::shared_ptr<Connection>> selected;
  for (const auto& [key, connection] : io.connections)
    if (wanted(*connection)) selected.push_back(connection);
  return selected;
}

}  // namespace

ServerState::ServerState(const HttpOptions& options, std::vector<HttpRoute> routes, bool starting)
    : limits(options.limits),
      access_log(options.access_log),
      gate(options, std::move(routes), starting),
      log(STDERR_FILENO),
      id_salt_(random_number()) {}

// One step of SplitMix64: different for 2^64 requests, and nobody can count ours from it.
std::string ServerState::new_id() {
  uint64_t mixed = id_salt_ + next_id_++ * 0x9e3779b97f4a7c15u;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
  return fmt::format("{:016x}", mixed ^ (mixed >> 31));
}

bool ServerState::takes(const std::string& path) const {
  return !draining || std::find(keep_answering.begin(), keep_answering.end(), path) != keep_answering.end();
}

// Whoever ends the last batch and whoever flushes beside it each look after their own change, so one of them
// posts.
void IoThread::flush_soon(std::shared_ptr<Connection> connection) {
  {
    const std::lock_guard lock(flush_mutex);
    to_flush.push_back(std::move(connection));
  }
  if (state.write_batches == 0) post_flushes();
}

void IoThread::post_flushes() {
  {
    const std::lock_guard lock(flush_mutex);
    if (to_flush.empty() || std::exchange(flush_posted, true)) return;
  }
  asio::post(context, [this] {
    std::vector<std::shared_ptr<Connection>> now;
    {
      const std::lock_guard lock(flush_mutex);
      now.swap(to_flush);
      flush_posted = false;
    }
    for (const auto& connection : now) connection->flush();
  });
}

void IoThread::sweep() {
  sweep_timer.expires_after(kSweepPeriod);
  sweep_timer.async_wait([this](error_code error) {
    if (error || stopping) return;  // cancelling does not reach a wait that is over
    sweep();
    const auto now = Connection::Clock::now();
    for (const auto& connection :
         select(*this, [&](const Connection& each) { return each.needs_check(now); }))
      connection->check_deadlines(now);
  });
}

void IoThread::close_all() {
  for (const auto& connection : select(*this, [](const Connection&) { return true; })) connection->close();
}

void IoThread::close_idle() {
  for (const auto& connection : select(*this, [](const Connection& each) { return each.idle(); }))
    connection->close();
}

}  // namespace chorus
