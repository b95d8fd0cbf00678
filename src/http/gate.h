#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "http/api_keys.h"
#include "http/http_server.h"
#include "http/request_parser.h"

namespace chorus {

// What the gate says about the head of a request.
struct Verdict {
  const HttpRoute* route = nullptr;  // let in; null: answered with what follows
  int status = 0;
  std::string_view message, code;
  HttpHeaders headers;
  std::string_view allowed_origin;  // to be named in CORS headers; empty: none
};

// Judges requests by their heads, before a byte of a body is taken: Host, Origin, key, path, method, content
// type, in this order, so that who has no key learns nothing of the routes. No state: any thread.
class Gate {
 public:
  // Error: a key file that cannot be read; a host other than loopback without keys and without `insecure`.
  Gate(const HttpOptions& options, std::vector<HttpRoute> routes);

  // Sets the request's `key`.
  Verdict judge(HttpRequest& request) const;

 private:
  bool host_allowed(std::string_view host) const;
  bool origin_allowed(std::string_view origin, std::string_view host, Verdict& verdict) const;
  const HttpRoute* find(std::string_view method, std::string_view path) const;
  std::string methods_of(std::string_view path) const;
  bool check_key(const HttpRequest& request, Access access, const ApiKeys::Found& found,
                 Verdict& verdict) const;

  std::vector<HttpRoute> routes_;
  std::vector<std::string> hosts_, origins_;
  ApiKeys keys_;
};

}  // namespace chorus
