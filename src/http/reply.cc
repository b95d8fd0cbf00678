#include "http/reply.h"

#include <fmt/format.h>

#include "http/connection.h"
#include "http/http_text.h"

namespace chorus {

void Reply::answer(int status, std::string_view content_type, std::string body, const HttpHeaders& headers) {
  std::function<void()> done;  // its captures must not die under the lock
  const std::lock_guard lock(mutex_);
  if (over_locked() || begun_) return;
  begin_locked(status, content_type, static_cast<int64_t>(body.size()), headers);
  if (!bodyless_) {
    pending_.append(body);
    body_bytes_ = body.size();
  }
  complete_ = true;
  done.swap(on_gone_);
  wake_locked();
}

void Reply::begin(int status, std::string_view content_type, const HttpHeaders& headers) {
  const std::lock_guard lock(mutex_);
  if (over_locked() || begun_) return;
  begin_locked(status, content_type, -1, headers);
  wake_locked();
}

// HTTP/1.0 knows no chunks: there the end of a body of unknown length is the end of the connection.
void Reply::begin_locked(int status, std::string_view content_type, int64_t length,
                         const HttpHeaders& headers) {
  const bool no_content = status == 204 || status == 304;
  begun_ = true;
  status_ = status;
  bodyless_ = setup_.head_only || no_content;
  chunked_ = length < 0 && setup_.minor_version > 0 && !no_content;
  close_ = setup_.close || connection_->draining() || (length < 0 && !chunked_ && !no_content);
  pending_.append(format_head({.status = status,
                               .minor_version = setup_.minor_version,
                               .request_id = setup_.request_id,
                               .allowed_origin = setup_.allowed_origin,
                               .content_type = content_type,
                               .content_length = no_content ? -1 : length,
                               .chunked = chunked_,
                               .close = close_},
                              headers));
}

void Reply::write(std::string_view piece) {
  const std::lock_guard lock(mutex_);
  if (over_locked() || !begun_ || bodyless_ || piece.empty()) return;
  if (pending_.size() + in_flight_ > setup_.unread_bytes) {
    dropped_ = true;
    pending_ = std::string();
    connection_->post_close();
    return;
  }
  if (chunked_) fmt::format_to(std::back_inserter(pending_), "{:x}\r\n", piece.size());
  pending_.append(piece);
  if (chunked_) pending_.append("\r\n");
  body_bytes_ += piece.size();
  wake_locked();
}

void Reply::end() {
  std::function<void()> done;  // its captures must not die under the lock
  const std::lock_guard lock(mutex_);
  if (over_locked() || !begun_) return;
  if (chunked_ && !bodyless_) pending_.append("0\r\n\r\n");
  complete_ = true;
  done.swap(on_gone_);
  wake_locked();
}

void Reply::abandon() {
  bool begun;
  {
    const std::lock_guard lock(mutex_);
    if (over_locked()) return;
    begun = begun_;
    if (begun) {
      dropped_ = true;
      connection_->post_close();
    }
  }
  if (!begun) answer(500, "application/json", error_body(500, "internal error"), {});
}

void Reply::on_gone(std::function<void()> gone) {
  {
    const std::lock_guard lock(mutex_);
    if (complete_) return;
    if (connection_ != nullptr) {
      on_gone_.swap(gone);
      return;
    }
  }
  if (gone) gone();
}

bool Reply::gone() const {
  const std::lock_guard lock(mutex_);
  return connection_ == nullptr || dropped_;
}

void Reply::wake_locked() {
  if (held_ || woken_) return;
  woken_ = true;
  connection_->post_flush();
}

Reply::Taken Reply::take(std::string& bytes) {
  const std::lock_guard lock(mutex_);
  woken_ = false;
  bytes.swap(pending_);
  in_flight_ = bytes.size();
  return {complete_, close_};
}

void Reply::hold() {
  const std::lock_guard lock(mutex_);
  held_ = true;
}

void Reply::release() {
  const std::lock_guard lock(mutex_);
  held_ = false;
}

void Reply::detach() {
  std::function<void()> gone;
  bool call;
  {
    const std::lock_guard lock(mutex_);
    connection_ = nullptr;
    call = !complete_;
    gone.swap(on_gone_);
    pending_ = std::string();
  }
  if (call && gone) gone();
}

bool Reply::complete() const {
  const std::lock_guard lock(mutex_);
  return complete_;
}

Reply::Summary Reply::summary() const {
  const std::lock_guard lock(mutex_);
  return {status_, body_bytes_};
}

}  // namespace chorus
