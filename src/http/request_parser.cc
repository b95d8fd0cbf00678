#include "http/request_parser.h"

#include <algorithm>
#include <charconv>

#include "http/http_text.h"

namespace chorus {

namespace {

constexpr size_t kRequestLineExtra = 64;  // of a request line besides its target
constexpr size_t kChunkLineBytes = 256;   // a chunk's size with its extensions
constexpr size_t kChunkSizeDigits = 16;

constexpr const char* kTargetTooLong = "the request's target is too long";
constexpr const char* kHeadersTooLarge = "the request's headers are too large or too many";
constexpr const char* kBodyTooLarge = "the request's body is too large";
constexpr const char* kBadLineEnd = "a line of the request does not end in CRLF";
constexpr const char* kBadHeader = "a header line is malformed";
constexpr const char* kBadLength = "Content-Length is malformed, or sent twice, or beside Transfer-Encoding";
constexpr const char* kBadChunk = "the chunked body is malformed";

// Headers of which a second one could be read differently by somebody else on the way.
bool must_be_single(std::string_view name) {
  constexpr std::string_view kSingle[] = {"host",   "authorization", "x-api-key",        "content-type",
                                          "origin", "expect",        "transfer-encoding"};
  return std::any_of(std::begin(kSingle), std::end(kSingle),
                     [&](std::string_view single) { return equal_ignoring_case(single, name); });
}

bool has_header(const HttpHeaders& headers, std::string_view name) {
  return std::any_of(headers.begin(), headers.end(),
                     [&](const auto& header) { return equal_ignoring_case(header.first, name); });
}

// "name: value" with a token as name; the value without the blanks around it.
bool split_header(std::string_view line, std::string_view& name, std::string_view& value) {
  const size_t colon = line.find(':');
  if (colon == line.npos || !is_http_token(line.substr(0, colon))) return false;
  name = line.substr(0, colon);
  value = trim_blanks(line.substr(colon + 1));
  return std::all_of(value.begin(), value.end(), [](char c) { return c == '\t' || !is_control(c); });
}

}  // namespace

RequestParser::RequestParser(const HttpLimits& limits) : limits_(&limits) {}

void RequestParser::reset() { *this = RequestParser(*limits_); }

bool RequestParser::fail(int status, const char* message) {
  state_ = State::kFailed;
  problem_ = {status, message};
  return false;
}

size_t RequestParser::feed(std::string_view bytes) {
  const size_t size = bytes.size();
  if (state_ == State::kNothing && !bytes.empty()) state_ = State::kHead;
  while (!bytes.empty() && (state_ == State::kHead || state_ == State::kBody)) {
    const bool data = state_ == State::kBody && expected_ == Line::kChunkData;
    if (!(data ? take_body(bytes) : take_line(bytes))) break;
  }
  return size - bytes.size();
}

// What has come of a line is judged by its length only, so that the verdict is the same wherever it was cut.
bool RequestParser::take_line(std::string_view& bytes) {
  const size_t newline = bytes.find('\n');
  const size_t taken = std::min(newline == bytes.npos ? bytes.size() : newline + 1,
                                limits_->target_bytes + limits_->header_bytes + kRequestLineExtra);
  line_.append(bytes.substr(0, taken));
  bytes.remove_prefix(taken);
  if (too_long())
    return expected_ == Line::kRequest     ? fail(414, kTargetTooLong)
           : expected_ == Line::kChunkSize ? fail(400, kBadChunk)
           : expected_ == Line::kChunkEnd  ? fail(400, kBadChunk)
                                           : fail(431, kHeadersTooLarge);
  if (line_.back() != '\n') return true;
  std::string line;
  line.swap(line_);
  if (line.size() < 2 || line[line.size() - 2] != '\r') return fail(400, kBadLineEnd);
  return on_line(std::string_view(line).substr(0, line.size() - 2));
}

bool RequestParser::too_long() const {
  switch (expected_) {
    case Line::kRequest:
      return line_.size() > limits_->target_bytes + kRequestLineExtra;
    case Line::kHeader:
    case Line::kTrailer:
      return section_bytes_ + line_.size() > limits_->header_bytes;
    case Line::kChunkEnd:
      return line_.size() > 2;
    default:
      return line_.size() > kChunkLineBytes;
  }
}

bool RequestParser::on_line(std::string_view line) {
  switch (expected_) {
    case Line::kRequest:
      return on_request_line(line);
    case Line::kHeader:
      return on_header_line(line);
    case Line::kTrailer:
      return on_trailer_line(line);
    case Line::kChunkSize:
      return on_chunk_size(line);
    default:
      expected_ = Line::kChunkSize;
      return true;
  }
}

bool RequestParser::on_request_line(std::string_view line) {
  if (line.empty() && !blank_skipped_) {  // RFC 9112, 2.2: some clients send one after a body
    blank_skipped_ = true;
    return true;
  }
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == line.npos || first == last) return fail(400, "the request line is malformed");
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!is_http_token(method) || method.size() > 32 || !version.starts_with("HTTP/"))
    return fail(400, "the request line is malformed");
  if (version != "HTTP/1.1" && version != "HTTP/1.0")
    return fail(505, "only HTTP/1.1 and HTTP/1.0 are spoken");
  minor_version_ = version.back() - '0';
  keep_alive_ = minor_version_ == 1;
  request_.method = method;
  expected_ = Line::kHeader;
  return on_target(target);
}

bool RequestParser::on_target(std::string_view target) {
  constexpr const char* kBadTarget = "the request's target must be a path that begins with '/'";
  if (target.size() > limits_->target_bytes) return fail(414, kTargetTooLong);
  if (target.empty() || target.front() != '/') return fail(400, kBadTarget);
  const bool visible =
      std::all_of(target.begin(), target.end(), [](char c) { return c > ' ' && c < '\x7f' && c != '#'; });
  const size_t question = target.find('?');
  if (!visible || !percent_decode(target.substr(0, question), request_.path)) return fail(400, kBadTarget);
  if (has_dot_segment(request_.path)) return fail(400, "the request's path holds '.' or '..'");
  if (question != target.npos) request_.query = target.substr(question + 1);
  return true;
}

bool RequestParser::on_header_line(std::string_view line) {
  section_bytes_ += line.size() + 2;
  if (line.empty()) return on_head_end();
  if (++section_lines_ > limits_->headers) return fail(431, kHeadersTooLarge);
  std::string_view name, value;
  if (!split_header(line, name, value)) return fail(400, kBadHeader);
  if (must_be_single(name) && has_header(request_.headers, name))
    return fail(400, "a header that may come once came twice");
  if (equal_ignoring_case(name, "content-length") && !on_length(value)) return false;
  if (equal_ignoring_case(name, "connection")) {
    if (list_holds(value, "close")) keep_alive_ = false;
    if (minor_version_ == 0 && list_holds(value, "keep-alive")) keep_alive_ = true;
  }
  request_.headers.emplace_back(name, value);
  return true;
}

bool RequestParser::on_length(std::string_view value) {
  if (has_length_) return fail(400, kBadLength);
  has_length_ = true;
  const char* end = value.data() + value.size();
  const auto parsed = std::from_chars(value.data(), end, length_);
  return (parsed.ec == std::errc() && parsed.ptr == end) || fail(400, kBadLength);
}

bool RequestParser::on_head_end() {
  if (has_header(request_.headers, "transfer-encoding")) {
    if (has_length_) return fail(400, kBadLength);
    if (minor_version_ == 0 || !equal_ignoring_case(request_.header("transfer-encoding"), "chunked"))
      return fail(400, "Transfer-Encoding may only be chunked");
    chunked_ = true;
  }
  const std::string_view expect = request_.header("expect");
  if (!expect.empty() && !equal_ignoring_case(expect, "100-continue"))
    return fail(417, "Expect may only be 100-continue");
  expects_continue_ = !expect.empty() && minor_version_ == 1 && has_body();
  state_ = State::kHeadDone;
  return true;
}

void RequestParser::read_body(size_t most) {
  body_bytes_ = most > 0 ? most : limits_->body_bytes;
  if (!has_body()) {
    state_ = State::kDone;
    return;
  }
  if (length_ > body_bytes_) {
    fail(413, kBodyTooLarge);
    return;
  }
  state_ = State::kBody;
  left_ = length_;
  section_bytes_ = 0;
  section_lines_ = 0;
  expected_ = chunked_ ? Line::kChunkSize : Line::kChunkData;
}

bool RequestParser::on_chunk_size(std::string_view line) {
  const size_t digits = std::min(line.find_first_of("; \t"), line.size());
  const bool plain =
      std::all_of(line.begin(), line.end(), [](char c) { return c == '\t' || !is_control(c); });
  const std::string_view rest = trim_blanks(line.substr(digits));
  if (!plain || digits == 0 || digits > kChunkSizeDigits || (!rest.empty() && rest.front() != ';'))
    return fail(400, kBadChunk);
  const auto parsed = std::from_chars(line.data(), line.data() + digits, left_, 16);
  if (parsed.ec != std::errc() || parsed.ptr != line.data() + digits) return fail(400, kBadChunk);
  if (left_ > body_bytes_ - request_.body.size()) return fail(413, kBodyTooLarge);
  expected_ = left_ == 0 ? Line::kTrailer : Line::kChunkData;
  return true;
}

bool RequestParser::on_trailer_line(std::string_view line) {
  section_bytes_ += line.size() + 2;
  if (line.empty()) {
    state_ = State::kDone;
    return true;
  }
  std::string_view name, value;
  if (++section_lines_ > limits_->headers) return fail(431, kHeadersTooLarge);
  return split_header(line, name, value) || fail(400, kBadHeader);
}

bool RequestParser::take_body(std::string_view& bytes) {
  const size_t taken = static_cast<size_t>(std::min<uint64_t>(left_, bytes.size()));
  request_.body.append(bytes.substr(0, taken));
  bytes.remove_prefix(taken);
  left_ -= taken;
  if (left_ > 0) return true;
  if (chunked_) {
    expected_ = Line::kChunkEnd;
  } else {
    state_ = State::kDone;
  }
  return true;
}

}  // namespace chorus
