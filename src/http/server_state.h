#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "http/gate.h"
#include "http/http_server.h"
#include "http/log_writer.h"

namespace chorus {

namespace asio = boost::asio;

class Connection;

// What all connections of a server share; it outlives them.
struct ServerState {
  ServerState(const HttpOptions& options, std::vector<HttpRoute> routes, bool starting);

  // A request's id where it brought none.
  std::string new_id();
  // Whether a request to this path is still taken.
  bool takes(const std::string& path) const;

  const HttpLimits limits;
  const bool access_log;
  Gate gate;
  LogWriter log;
  std::atomic<bool> draining{false};
  std::vector<std::string> keep_answering;  // written once, before `draining` is set
  std::atomic<int> open_connections{0}, open_exchanges{0};
  std::atomic<size_t> body_bytes{0};  // of all requests that are being read or answered
  std::atomic<uint64_t> connections{0}, requests{0}, refused{0};
  std::atomic<int> write_batches{0};  // HttpServer::WriteBatch

 private:
  const uint64_t id_salt_;
  std::atomic<uint64_t> next_id_{0};
};

// One I/O thread and its connections, which never leave it.
struct IoThread {
  explicit IoThread(ServerState& server) : state(server), context(1), sweep_timer(context) {}

  // On any thread: flushes the connection on this one, together with the others that were named until then.
  // During a WriteBatch they wait for post_flushes().
  void flush_soon(std::shared_ptr<Connection> connection);
  void post_flushes();

  void sweep();  // closes what is past its deadline, and again after kSweepPeriod
  void close_all();
  void close_idle();

  ServerState& state;
  asio::io_context context;
  asio::steady_timer sweep_timer;
  std::unordered_map<Connection*, std::shared_ptr<Connection>> connections;
  bool stopping = false;  // what is accepted now is closed
  std::mutex flush_mutex;
  std::vector<std::shared_ptr<Connection>> to_flush;
  bool flush_posted = false;
  std::thread thread;
};

}  // namespace chorus
