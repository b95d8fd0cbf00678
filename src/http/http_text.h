#pragma once

#include <string>
#include <string_view>

#include "http/http_server.h"

namespace chorus {

inline bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == '\x7f'; }
bool is_loopback(const std::string& host);                         // an address, or "localhost"
bool equal_ignoring_case(std::string_view a, std::string_view b);  // of ASCII
std::string_view trim_blanks(std::string_view text);               // spaces and tabs
bool is_http_token(std::string_view text);                         // RFC 9110's `token`
// Whether a comma-separated header value has this item, in any case.
bool list_holds(std::string_view list, std::string_view item);

// False: a '%' without two hex digits, or a character 0.
bool percent_decode(std::string_view text, std::string& out);
// Whether a part between slashes is "." or "..".
bool has_dot_segment(std::string_view path);

std::string_view reason_phrase(int status);
// OpenAI's error object, with the type that belongs to the status. `code` empty: null.
std::string error_body(int status, std::string_view message, std::string_view code = {});

// What an answer begins with, apart from the handler's own words.
struct ResponseHead {
  int status;
  int minor_version;  // of the request
  std::string_view request_id;
  std::string_view allowed_origin;  // for CORS; empty: none
  std::string_view content_type;    // empty: none
  int64_t content_length;           // negative: none
  bool chunked;
  bool close;
};
// The head with the blank line behind it. Control characters in header values become spaces.
std::string format_head(const ResponseHead& head, const HttpHeaders& headers);

}  // namespace chorus
