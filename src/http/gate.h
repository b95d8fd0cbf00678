#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "http/api_keys.h"
#include "http/http_server.h"
#include "http/request_parser.h"

namespace chorus {

// What the gate says about the head of a request.
struct Verdict {
  std::shared_ptr<const HttpRoute> route;  // let in; null: answered with what follows
  int status = 0;
  std::string message;
  std::string_view code;
  HttpHeaders headers;
  std::string_view allowed_origin;  // to be named in CORS headers; empty: none
};

// Judges requests by their heads, before a byte of a body is taken: Host, Origin, key, path, method, content
// type, in this order, so that who has no key learns nothing of the routes. Thread-safe.
class Gate {
 public:
  // `starting`: see HttpServer. Error: a key file that cannot be read; a host other than loopback without
  // keys and without `insecure`.
  Gate(const HttpOptions& options, std::vector<HttpRoute> routes, bool starting = false);

  // Sets the request's `key`.
  Verdict judge(HttpRequest& request) const;
  // For requests judged from now on; those let in keep theirs.
  void set_routes(std::vector<HttpRoute> routes) {
    routes_ = std::make_shared<const Routes>(Routes{std::move(routes), false});
  }

 private:
  bool host_allowed(std::string_view host) const;
  bool origin_allowed(std::string_view origin, std::string_view host, Verdict& verdict) const;
  struct Routes {
    std::vector<HttpRoute> list;
    bool starting;  // there will be more
  };
  bool check_key(const HttpRequest& request, Access access, const ApiKeys::Found& found,
                 Verdict& verdict) const;

  std::atomic<std::shared_ptr<const Routes>> routes_;
  std::vector<std::string> hosts_, origins_;
  ApiKeys keys_;
};

}  // namespace chorus
