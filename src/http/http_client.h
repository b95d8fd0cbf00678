#pragma once

#include <chrono>
#include <cstdint>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/error.h"

namespace chorus {

struct HttpAnswer {
  int status = 0;
  std::string body;
};

// The server was silent for too long.
class HttpTimeout : public Error {
 public:
  using Error::Error;
};

// How long a client waits for what, and when it no longer does.
struct HttpPatience {
  std::chrono::seconds time{60};          // without a byte; connecting included
  std::chrono::seconds connect_time{60};  // at most
  uint64_t answer_bytes = uint64_t{2} << 30;
  std::stop_token stop = {};  // ends the asking at once, with an Error
};

// Asks a server one thing after the other, each on a connection of its own.
class HttpClient {
 public:
  // `url`: http://HOST[:PORT] or https://..., which must have a certificate that this system trusts. `key`
  // goes along as a bearer token; empty: none. With "USER:PASSWORD@" before the host these go along instead
  // (Basic), and are no part of url(). Error: no such URL; a key that cannot stand in a header.
  HttpClient(std::string_view url, std::string_view key);

  const std::string& url() const { return url_; }
  const std::string& host() const { return host_; }  // of an IPv6 address with its brackets
  // `path` begins with a slash. Error: the server cannot be reached, says no HTTP, sends more than it may, or
  // (HttpTimeout) is silent for too long. Interrupted by a signal it goes on.
  HttpAnswer ask(std::string_view method, const std::string& path, std::string_view content_type = {},
                 std::string body = {}, const HttpPatience& patience = {}) const;

 private:
  std::string url_, host_, port_, authorization_;
  bool encrypted_ = false;
};

}  // namespace chorus
