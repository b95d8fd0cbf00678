#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "http/http_server.h"

namespace chorus {

class Connection;

// What a Reply needs to know of its request and of the limits.
struct ReplySetup {
  std::string request_id, allowed_origin;
  int minor_version = 1;
  bool head_only = false;  // HEAD: no body goes out
  bool close = false;      // after the answer
  size_t unread_bytes = 0;
};

// The answer to one request on its way from the handler's threads to the connection's. The handler's side
// puts bytes in; the connection takes them out in its own time. Whichever ends first leaves the other intact.
class Reply {
 public:
  Reply(Connection& connection, ReplySetup setup) : connection_(&connection), setup_(std::move(setup)) {}

  // The handler's side, as in HttpExchange.
  void answer(int status, std::string_view content_type, std::string body, const HttpHeaders& headers);
  void begin(int status, std::string_view content_type, const HttpHeaders& headers);
  void write(std::string_view piece);
  void end();
  void on_gone(std::function<void()> gone);
  bool gone() const;
  void abandon();  // nobody is left to answer: a 500, or the connection closed where the body has begun

  // The connection's side, on its thread.
  struct Taken {
    bool complete = false;  // nothing follows
    bool close = false;
  };
  // Swaps what waits into `bytes` (which must be empty); the previous lot counts as sent now.
  Taken take(std::string& bytes);
  // From here to `release` the connection looks for bytes itself and is not called for each.
  void hold();
  void release();
  // The connection has sent it all or is no more. Calls on_gone's function where the answer was not complete.
  void detach();

  bool complete() const;  // the handler has nothing more to say

  struct Summary {
    int status = 0;
    uint64_t body_bytes = 0;
  };
  Summary summary() const;

 private:
  void begin_locked(int status, std::string_view content_type, int64_t length, const HttpHeaders& headers);
  void wake_locked();
  bool over_locked() const { return connection_ == nullptr || dropped_ || complete_; }

  mutable std::mutex mutex_;
  Connection* connection_;  // null: gone
  const ReplySetup setup_;
  std::string pending_;
  size_t in_flight_ = 0;
  bool begun_ = false, complete_ = false, chunked_ = false, close_ = false, bodyless_ = false;
  bool woken_ = false, held_ = false, dropped_ = false;
  int status_ = 0;
  uint64_t body_bytes_ = 0;
  std::function<void()> on_gone_;
};

// What handlers hold.
class Exchange : public HttpExchange {
 public:
  Exchange(HttpRequest request, std::shared_ptr<Reply> reply)
      : request_(std::move(request)), reply_(std::move(reply)) {}
  ~Exchange() override { reply_->abandon(); }
  const HttpRequest& request() const override { return request_; }
  void answer(int status, std::string_view content_type, std::string body, HttpHeaders headers) override {
    reply_->answer(status, content_type, std::move(body), headers);
  }
  void begin(int status, std::string_view content_type, HttpHeaders headers) override {
    reply_->begin(status, content_type, headers);
  }
  void write(std::string piece) override { reply_->write(piece); }
  void end() override { reply_->end(); }
  void on_gone(std::function<void()> gone) override { reply_->on_gone(std::move(gone)); }
  bool gone() const override { return reply_->gone(); }

 private:
  HttpRequest request_;
  std::shared_ptr<Reply> reply_;
};

}  // namespace chorus
