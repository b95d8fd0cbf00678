#include "http/connection.h"

#include <fmt/chrono.h>
#include <poll.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cstring>

#include "base/error.h"
#include "formats/json.h"
#include "http/http_text.h"

namespace chorus {

namespace {

constexpr size_t kIdleBuffer = 1 << 10;  // what an idle connection keeps; holds the head of most requests
constexpr size_t kMaxBuffer = 64 << 10;
constexpr std::chrono::seconds kLingerTime{2};
constexpr auto kNever = Connection::Clock::time_point::max();
constexpr int kClientGone = 499;  // nginx's status for the log, where there was no answer
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

bool is_request_id(std::string_view text) {
  return !text.empty() && text.size() <= 128 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

}  // namespace

Connection::Connection(IoThread& io, tcp::socket socket, asio::ssl::context* tls)
    : io_(io),
      state_(io.state),
      stream_(std::move(socket), tls),
      parser_(state_.limits),
      buffer_(kIdleBuffer),
      read_deadline_(kNever),
      write_deadline_(kNever) {}

void Connection::start() {
  if (!stream_.encrypted()) {
    read_deadline_ = Clock::now() + state_.limits.idle_time;
    read();
    return;
  }
  phase_ = Phase::kHandshake;
  read_deadline_ = Clock::now() + state_.limits.header_time;
  stream_.async_handshake([self = shared_from_this()](error_code error) {
    if (self->phase_ == Phase::kClosed) return;
    if (error) return self->close();
    self->phase_ = Phase::kReading;
    self->read_deadline_ = Clock::now() + self->state_.limits.idle_time;
    self->read();
  });
}

void Connection::refuse_for_load() {
  refuse(503, "too many connections", "too_many_connections", {{"retry-after", "1"}}, {}, true);
}

void Connection::close() {
  if (phase_ == Phase::kClosed) return;
  const auto self = shared_from_this();
  phase_ = Phase::kClosed;
  error_code ignored;
  stream_.socket().close(ignored);
  io_.connections.erase(this);
  --state_.open_connections;
  release_body();
  if (!reply_) return;
  log_access();
  --state_.open_exchanges;
  std::exchange(reply_, nullptr)->detach();
}

void Connection::post_flush() { io_.flush_soon(shared_from_this()); }

void Connection::post_close() {
  asio::post(io_.context, [self = shared_from_this()] { self->close(); });
}

void Connection::read() {
  if (reading_ || input_ended_ || phase_ == Phase::kClosed) return;
  make_room();
  if (end_ == buffer_.size()) return;  // goes on when the answer at hand has been sent
  reading_ = true;
  stream_.async_read_some(asio::buffer(buffer_.data() + end_, buffer_.size() - end_),
                          [self = shared_from_this()](error_code error, size_t bytes) {
                            self->reading_ = false;
                            self->on_read(error, bytes);
                          });
}

// The buffer is small while nothing comes and grows with what does.
void Connection::make_room() {
  const bool fill = end_ == buffer_.size();
  std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  if (end_ > 0) return;
  if (phase_ == Phase::kReading && parser_.state() == RequestParser::State::kBody) {
    if (fill && buffer_.size() < kMaxBuffer) buffer_.resize(buffer_.size() * 4);
  } else if (buffer_.size() > kIdleBuffer) {
    buffer_ = std::vector<char>(kIdleBuffer);
  }
}

void Connection::on_read(error_code error, size_t bytes) {
  if (phase_ == Phase::kClosed) return;
  if (phase_ == Phase::kLingering) {
    begin_ = end_ = 0;
    return error ? close() : read();
  }
  if (error == asio::error::eof) return on_end_of_input();
  if (error) return close();
  end_ += bytes;
  consume();
}

void Connection::on_end_of_input() {
  input_ended_ = true;
  if (!reply_ || !reply_->complete()) close();
}

void Connection::consume() {
  while (phase_ == Phase::kReading) {
    if (idle()) record_.begun = Clock::now();
    begin_ += parser_.feed(std::string_view(buffer_.data() + begin_, end_ - begin_));
    const RequestParser::State state = parser_.state();
    if (!account_body()) {
      refuse(503, "the server holds too many request bodies", "overloaded", {{"retry-after", "1"}}, {}, true);
    } else if (state == RequestParser::State::kHeadDone) {
      on_head();
    } else if (state == RequestParser::State::kDone) {
      dispatch();
    } else if (state == RequestParser::State::kFailed) {
      refuse(parser_.problem().status, parser_.problem().message, {}, {}, {}, true);
    } else if (input_ended_) {
      return linger();
    } else {
      break;
    }
  }
  set_read_deadline();
  read();
}

// Counts what the request's body holds into the sum over all connections until the answer is sent.
bool Connection::account_body() {
  const size_t bytes = parser_.request().body.size();
  if (bytes == accounted_) return true;
  const size_t sum = state_.body_bytes += bytes - accounted_;
  accounted_ = bytes;
  return sum <= state_.limits.all_body_bytes;
}

void Connection::release_body() {
  state_.body_bytes -= accounted_;
  accounted_ = 0;
}

void Connection::set_read_deadline() {
  if (phase_ != Phase::kReading || parser_.state() == deadline_of_) return;
  deadline_of_ = parser_.state();
  const HttpLimits& limits = state_.limits;
  read_deadline_ = Clock::now() + (deadline_of_ == RequestParser::State::kHead   ? limits.header_time
                                   : deadline_of_ == RequestParser::State::kBody ? limits.body_time
                                                                                 : limits.idle_time);
}

void Connection::check_deadlines(Clock::time_point now) {
  if (now >= write_deadline_) return close();
  if (now < read_deadline_) {
    // A client that has sent more than is read ahead can only be seen going here.
    if (phase_ != Phase::kServing || reading_ || input_ended_) return;
    pollfd ended{stream_.socket().native_handle(), POLLRDHUP, 0};
    if (::poll(&ended, 1, 0) > 0) on_end_of_input();
    return;
  }
  const bool within_request = phase_ == Phase::kReading && !idle();
  if (!within_request) return close();
  refuse(408, "the request did not come in time", {}, {}, {}, true);
}

void Connection::on_head() {
  HttpRequest& request = parser_.request();
  const std::string_view sent_id = request.header("x-request-id");
  request.id = is_request_id(sent_id) ? std::string(sent_id) : state_.new_id();
  Verdict verdict = state_.gate.judge(request);
  const bool takes_body = parser_.has_body();
  if (verdict.route != nullptr && !state_.takes(request.path)) {
    verdict.route = nullptr;
    verdict.status = 503;
    verdict.message = "the server is shutting down";
    verdict.code = "draining";
    verdict.headers.emplace_back("retry-after", "1");
  }
  if (verdict.route == nullptr)
    return refuse(verdict.status, verdict.message, verdict.code, verdict.headers, verdict.allowed_origin,
                  takes_body);
  route_ = verdict.route;
  allowed_origin_ = verdict.allowed_origin;
  parser_.read_body(route_->body_bytes);
  if (!parser_.expects_continue() || parser_.state() != RequestParser::State::kBody || begin_ < end_) return;
  sending_ = kContinue;
  send();
}

void Connection::begin_reply(std::string_view allowed_origin, bool close) {
  const HttpRequest& request = parser_.request();
  phase_ = Phase::kServing;
  read_deadline_ = kNever;
  deadline_of_ = RequestParser::State::kDone;
  ++state_.requests;
  ++state_.open_exchanges;
  record_.id = request.id.empty() ? state_.new_id() : request.id;
  if (state_.access_log) {
    record_.method = request.method;
    record_.path = request.path;
    record_.key = request.key;
  }
  reply_ = std::make_shared<Reply>(*this, ReplySetup{.request_id = record_.id,
                                                     .allowed_origin = std::string(allowed_origin),
                                                     .minor_version = parser_.minor_version(),
                                                     .head_only = request.method == "HEAD",
                                                     .close = close || !parser_.keep_alive(),
                                                     .unread_bytes = state_.limits.unread_bytes});
}

void Connection::refuse(int status, std::string_view message, std::string_view code,
                        const HttpHeaders& headers, std::string_view allowed_origin, bool close) {
  begin_reply(allowed_origin, close);
  ++state_.refused;
  reply_->hold();
  if (status == 204) {
    reply_->answer(status, {}, {}, headers);
  } else {
    reply_->answer(status, "application/json", error_body(status, message, code), headers);
  }
  reply_->release();
  flush();
}

void Connection::dispatch() {
  begin_reply(allowed_origin_, false);
  const auto reply = reply_;
  reply->hold();
  call_handler(std::make_shared<Exchange>(std::move(parser_.request()), reply));
  reply->release();
  flush();
  if (input_ended_ && reply_ && !reply_->complete()) close();
}

void Connection::call_handler(const std::shared_ptr<HttpExchange>& exchange) {
  try {
    route_->handler(exchange);
    return;
  } catch (const std::exception& error) {
    state_.log.line(json::serialize(json::object{
        {"level", "error"}, {"id", exchange->request().id}, {"message", printable(error.what(), 400)}}));
  } catch (...) {
    state_.log.line(json::serialize(json::object{
        {"level", "error"}, {"id", exchange->request().id}, {"message", "an unknown exception"}}));
  }
  exchange->answer(500, "application/json", error_body(500, "internal error"));
}

void Connection::flush() {
  if (writing_ || !reply_ || phase_ == Phase::kClosed) return;
  sending_.clear();
  const Reply::Taken taken = reply_->take(sending_);
  reply_close_ = taken.close;
  if (!sending_.empty()) return send();
  if (taken.complete) on_reply_sent();
}

void Connection::send() {
  writing_ = true;
  sent_ = 0;
  send_rest();
}

void Connection::send_rest() {
  write_deadline_ = Clock::now() + state_.limits.stalled_reader_time;
  stream_.async_write_some(
      asio::buffer(sending_.data() + sent_, sending_.size() - sent_),
      [self = shared_from_this()](error_code error, size_t bytes) { self->on_sent(error, bytes); });
}

void Connection::on_sent(error_code error, size_t bytes) {
  if (phase_ == Phase::kClosed) return;
  if (error) return close();
  sent_ += bytes;
  if (sent_ < sending_.size()) return send_rest();
  writing_ = false;
  write_deadline_ = kNever;
  flush();
}

void Connection::on_reply_sent() {
  log_access();
  --state_.open_exchanges;
  std::exchange(reply_, nullptr)->detach();
  sending_ = std::string();
  route_ = nullptr;  // an idle connection keeps no table of routes alive
  release_body();
  if (reply_close_ || draining()) return linger();
  phase_ = Phase::kReading;
  parser_.reset();
  consume();
}

void Connection::log_access() {
  if (!state_.access_log) return;
  const Reply::Summary summary = reply_->summary();
  const auto now = std::chrono::system_clock::now();
  const std::chrono::duration<double> took = Clock::now() - record_.begun;
  state_.log.line(json::serialize(
      json::object{{"time", fmt::format("{:%FT%TZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(now)))},
                   {"id", record_.id},
                   {"method", record_.method},
                   {"path", printable(record_.path, 256)},
                   {"status", summary.status == 0 ? kClientGone : summary.status},
                   {"bytes", summary.body_bytes},
                   {"seconds", took.count()},
                   {"key", record_.key}}));
}

// Closing with unread input would make the kernel reset the connection and take the answer back from the
// client. So it is told that no more comes, and what it still sends is dropped for a while.
void Connection::linger() {
  if (input_ended_) return close();
  phase_ = Phase::kLingering;
  read_deadline_ = Clock::now() + kLingerTime;
  begin_ = end_ = 0;
  if (stream_.encrypted()) {
    stream_.async_goodbye([self = shared_from_this()](error_code) { self->end_output(); });
  } else {
    end_output();
  }
  read();
}

void Connection::end_output() {
  error_code ignored;
  stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
}

}  // namespace chorus
