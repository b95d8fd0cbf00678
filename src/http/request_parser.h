#pragma once

#include <string>
#include <string_view>

#include "http/http_server.h"

namespace chorus {

// Why the bytes of a client are no request that we take, as the answer it gets.
struct HttpProblem {
  int status = 0;       // 0: none
  const char* message;  // a fixed text: nothing of what was sent
};

// Reads one HTTP/1.0 or 1.1 request from bytes that come in pieces of any size; the outcome does not depend
// on where they are cut. Stricter than RFC 9112 asks for, because two readers who disagree about one request
// are how requests are smuggled: lines end in CRLF, nothing is folded, one Content-Length of digits only, no
// other Transfer-Encoding than `chunked`, trailers are checked and dropped. (Beast's parser unfolds, joins
// equal lengths and adds trailers to the headers, so it would need the same checks before it.)
// Memory is bounded by the limits: a head by target_bytes + header_bytes, a body by body_bytes, or
// by what read_body() was given.
class RequestParser {
 public:
  enum class State : uint8_t {
    kNothing,  // not a byte of it yet
    kHead,
    kHeadDone,  // the head can be judged; read_body() goes on
    kBody,
    kDone,  // request() is whole
    kFailed
  };

  // `limits` must outlive this.
  explicit RequestParser(const HttpLimits& limits);

  // Takes bytes up to the end of the head or of the request and says how many; none in kHeadDone, kDone and
  // kFailed.
  size_t feed(std::string_view bytes);
  // In kHeadDone only. The body may have so many bytes; 0: as the limits say.
  void read_body(size_t most = 0);
  void reset();  // for the next request

  State state() const { return state_; }
  HttpProblem problem() const { return problem_; }  // in kFailed

  // From kHeadDone on. `id` and `key` are the caller's to fill.
  HttpRequest& request() { return request_; }
  const HttpRequest& request() const { return request_; }
  int minor_version() const { return minor_version_; }  // of HTTP/1.x
  bool keep_alive() const { return keep_alive_; }
  bool has_body() const { return chunked_ || length_ > 0; }
  bool expects_continue() const { return expects_continue_; }

 private:
  enum class Line : uint8_t { kRequest, kHeader, kChunkSize, kChunkData, kChunkEnd, kTrailer };

  bool fail(int status, const char* message);
  bool take_line(std::string_view& bytes);
  bool too_long() const;
  bool on_line(std::string_view line);
  bool on_request_line(std::string_view line);
  bool on_target(std::string_view target);
  bool on_header_line(std::string_view line);
  bool on_head_end();
  bool on_length(std::string_view value);
  bool on_chunk_size(std::string_view line);
  bool on_trailer_line(std::string_view line);
  bool take_body(std::string_view& bytes);

  const HttpLimits* limits_;
  State state_ = State::kNothing;
  Line expected_ = Line::kRequest;
  HttpProblem problem_{};
  std::string line_;          // what has come of a line
  size_t section_bytes_ = 0;  // of the headers or trailers so far
  int section_lines_ = 0;     // likewise
  bool blank_skipped_ = false;
  HttpRequest request_;
  int minor_version_ = 1;
  bool keep_alive_ = true;
  bool chunked_ = false;
  bool has_length_ = false;
  bool expects_continue_ = false;
  size_t body_bytes_ = 0;  // that the body may have
  uint64_t length_ = 0;    // Content-Length
  uint64_t left_ = 0;      // of the body or the chunk
};

}  // namespace chorus
