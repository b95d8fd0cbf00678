#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace chorus {

struct HttpAnswer {
  int status = 0;
  std::string body;
};

// Asks a server one thing after the other, each on a connection of its own.
class HttpClient {
 public:
  // `url`: http://HOST[:PORT] or https://..., which must have a certificate that this system trusts. `key`
  // goes along as a bearer token; empty: none. Error: no such URL; a key that cannot stand in a header.
  HttpClient(std::string_view url, std::string key);

  const std::string& url() const { return url_; }
  // `path` begins with a slash. Error: the server cannot be reached, says no HTTP, is silent for `time` or
  // sends more than 2 GiB. Interrupted by a signal it goes on.
  HttpAnswer ask(std::string_view method, const std::string& path, std::string_view content_type = {},
                 std::string body = {}, std::chrono::seconds time = std::chrono::seconds(60)) const;

 private:
  std::string url_, host_, port_, key_;
  bool encrypted_ = false;
};

}  // namespace chorus
