#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "http/reply.h"
#include "http/request_parser.h"
#include "http/server_state.h"
#include "http/stream.h"

namespace chorus {

// One client's connection: reads a request, has it judged, hands it to its route, sends the answer, and only
// then takes the next. All of it happens on one I/O thread but the post_ functions and draining(), which any
// thread may call while the connection lives.
//
// A client that closes its sending side has gone as far as unfinished answers are concerned; what has been
// answered whole is still sent to it.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Clock = std::chrono::steady_clock;

  Connection(IoThread& io, tcp::socket socket, asio::ssl::context* tls);

  void start();
  void refuse_for_load();  // instead of start(): one 503
  // Whether check_deadlines() has something to do.
  bool needs_check(Clock::time_point now) const {
    return now >= read_deadline_ || now >= write_deadline_ || (phase_ == Phase::kServing && !reading_);
  }
  void check_deadlines(Clock::time_point now);
  void close();
  bool idle() const { return phase_ == Phase::kReading && parser_.state() == RequestParser::State::kNothing; }

  void post_flush();  // on any thread
  void flush();       // sends what the answer under way holds, if nothing is being sent
  void post_close();
  bool draining() const { return state_.draining; }

 private:
  enum class Phase : uint8_t { kHandshake, kReading, kServing, kLingering, kClosed };

  void read();
  void on_read(error_code error, size_t bytes);
  void on_end_of_input();
  void make_room();
  void consume();
  bool account_body();
  void release_body();
  void set_read_deadline();
  void on_head();
  void dispatch();
  void call_handler(const std::shared_ptr<HttpExchange>& exchange);
  void refuse(int status, std::string_view message, std::string_view code, const HttpHeaders& headers,
              std::string_view allowed_origin, bool close);
  void begin_reply(std::string_view allowed_origin, bool close);
  void send();
  void send_rest();
  void on_sent(error_code error, size_t bytes);
  void on_reply_sent();
  void log_access();
  void linger();
  void end_output();

  IoThread& io_;
  ServerState& state_;
  Stream stream_;
  RequestParser parser_;
  Phase phase_ = Phase::kReading;
  bool reading_ = false, writing_ = false, input_ended_ = false, reply_close_ = false;
  std::vector<char> buffer_;  // what was read and not parsed is [begin_, end_)
  size_t begin_ = 0, end_ = 0;
  size_t accounted_ = 0;  // of the body, in ServerState::body_bytes
  std::string sending_;   // [sent_, size) is being written
  size_t sent_ = 0;
  std::shared_ptr<const HttpRoute> route_;  // of the request at hand, once judged
  std::string allowed_origin_;              // likewise
  std::shared_ptr<Reply> reply_;            // the answer under way
  Clock::time_point read_deadline_, write_deadline_;
  RequestParser::State deadline_of_ = RequestParser::State::kNothing;  // which wait read_deadline_ is for
  struct Record {
    Clock::time_point begun;
    std::string id, method, path, key;
  } record_;  // for the access log
};

}  // namespace chorus
