#include "http/gate.h"

#include <algorithm>

#include "base/error.h"
#include "http/http_text.h"

namespace chorus {

namespace {

bool matches(const HttpRoute& route, std::string_view path) {
  const std::string_view pattern = route.path;
  if (!pattern.ends_with("/*")) return pattern == path;
  return path.starts_with(pattern.substr(0, pattern.size() - 1));
}

const HttpRoute* find_route(const std::vector<HttpRoute>& routes, std::string_view method,
                            std::string_view path) {
  const HttpRoute* best = nullptr;  // the longest pattern, so that an exact one goes before "/*"
  for (const HttpRoute& route : routes) {
    if (route.method != method || !matches(route, path)) continue;
    if (best == nullptr || route.path.size() > best->path.size()) best = &route;
  }
  return best;
}

std::string methods_of(const std::vector<HttpRoute>& routes, std::string_view path) {
  std::vector<std::string_view> methods;
  const auto add = [&](std::string_view method) {
    if (std::find(methods.begin(), methods.end(), method) == methods.end()) methods.push_back(method);
  };
  for (const HttpRoute& route : routes) {
    if (!matches(route, path)) continue;
    add(route.method);
    if (route.method == "GET") add("HEAD");
  }
  return fmt::format("{}", fmt::join(methods, ", "));
}

// Without its port, where it has one: "[::1]:80" -> "[::1]".
std::string_view without_port(std::string_view host) {
  const size_t colon = host.rfind(':');
  if (colon == host.npos || host.find(']', colon) != host.npos) return host;
  const std::string_view port = host.substr(colon + 1);
  const bool digits = std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; });
  return digits && !port.empty() && port.size() <= 5 ? host.substr(0, colon) : host;
}

bool contains(const std::vector<std::string>& list, std::string_view text) {
  return std::any_of(list.begin(), list.end(),
                     [&](const std::string& item) { return equal_ignoring_case(item, text); });
}

void refuse(Verdict& verdict, int status, std::string_view message, std::string_view code) {
  verdict.route = nullptr;
  verdict.status = status;
  verdict.message = message;
  verdict.code = code;
}

std::string_view key_of(const HttpRequest& request) {
  constexpr std::string_view kBearer = "bearer ";
  const std::string_view value = request.header("authorization");
  if (value.size() > kBearer.size() && equal_ignoring_case(value.substr(0, kBearer.size()), kBearer))
    return trim_blanks(value.substr(kBearer.size()));
  return value.empty() ? request.header("x-api-key") : std::string_view();
}

// Whether what the head says of the body is what the route takes. A page of another origin can send some
// types without being asked about, and no type at all, so no route takes any.
bool content_type_allowed(const HttpRequest& request, const HttpRoute& route) {
  if (request.method != "POST" && request.method != "PUT" && request.method != "PATCH") return true;
  const std::string_view type = request.header("content-type"), length = request.header("content-length");
  const bool empty = request.header("transfer-encoding").empty() && (length.empty() || length == "0");
  if (type.empty() && empty && route.body_optional) return true;
  return equal_ignoring_case(trim_blanks(type.substr(0, type.find(';'))), route.content_type);
}

}  // namespace

Gate::Gate(const HttpOptions& options, std::vector<HttpRoute> routes, bool starting)
    : routes_(std::make_shared<const Routes>(Routes{std::move(routes), starting})),
      hosts_(options.allowed_hosts),
      origins_(options.allowed_origins),
      keys_(options.api_key_file, options.admin_key_file) {
  if (!is_loopback(options.host) && !keys_.any_user() && !options.insecure)
    fail(
        "host {}: everybody who can reach it could use the server; give a file of API keys, or allow it with "
        "--insecure",
        printable(options.host));
  hosts_.insert(hosts_.end(), {"localhost", "127.0.0.1", "[::1]"});
  const bool is_v6 = options.host.find(':') != options.host.npos;
  if (options.host != "0.0.0.0" && options.host != "::")
    hosts_.push_back(is_v6 ? "[" + options.host + "]" : options.host);
}

bool Gate::host_allowed(std::string_view host) const {
  return !host.empty() &&
         (contains(hosts_, host) || contains(hosts_, without_port(host)) || contains(hosts_, "*"));
}

// Browsers send an Origin with a page's own requests too: that is the one whose host is the (allowed) Host.
bool Gate::origin_allowed(std::string_view origin, std::string_view host, Verdict& verdict) const {
  if (origin.empty()) return true;
  if (contains(origins_, origin)) {
    verdict.allowed_origin = origin;
    return true;
  }
  for (const std::string_view scheme : {"http://", "https://"})
    if (origin.starts_with(scheme) && equal_ignoring_case(origin.substr(scheme.size()), host)) return true;
  return false;
}

bool Gate::check_key(const HttpRequest& request, Access access, const ApiKeys::Found& found,
                     Verdict& verdict) const {
  const bool admin = access == Access::kAdmin && keys_.any_admin();
  const bool needed = admin || (access != Access::kPublic && keys_.any_user());
  if (!needed || found.admin || (found.known && !admin)) return true;
  if (found.known) {
    refuse(verdict, 403, "this needs the admin key", "admin_key_required");
    return false;
  }
  const bool sent = !request.header("authorization").empty() || !request.header("x-api-key").empty();
  refuse(verdict, 401, sent ? "the API key is not valid" : "an API key is needed: Authorization: Bearer KEY",
         "invalid_api_key");
  verdict.headers.emplace_back("www-authenticate", "Bearer");
  return false;
}

Verdict Gate::judge(HttpRequest& request) const {
  Verdict verdict;
  const std::string_view host = request.header("host"), origin = request.header("origin");
  if (!host_allowed(host)) {
    refuse(verdict, 421, "this server does not go by the name in the Host header", "host_not_allowed");
    return verdict;
  }
  if (!origin_allowed(origin, host, verdict)) {
    refuse(verdict, 403, "pages of this origin may not use this server", "origin_not_allowed");
    return verdict;
  }
  const std::shared_ptr<const Routes> routes = routes_.load();
  if (request.method == "OPTIONS" && !verdict.allowed_origin.empty()) {
    verdict.status = 204;
    verdict.headers = {
        {"access-control-allow-methods", methods_of(routes->list, request.path)},
        {"access-control-allow-headers", "authorization, content-type, x-api-key, x-request-id"},
        {"access-control-max-age", "600"}};
    return verdict;
  }
  const HttpRoute* route =
      find_route(routes->list, request.method == "HEAD" ? "GET" : request.method, request.path);
  const ApiKeys::Found found = keys_.any() ? keys_.find(key_of(request)) : ApiKeys::Found();
  request.key = found.name;
  if (!check_key(request, route == nullptr ? Access::kUser : route->access, found, verdict)) return verdict;
  if (route != nullptr) {
    verdict.route = {routes, route};
    if (!content_type_allowed(request, *route))
      refuse(verdict, 415, "Content-Type must be " + route->content_type, "unsupported_media_type");
  } else if (const std::string allow = methods_of(routes->list, request.path);
             allow.empty() && routes->starting) {
    refuse(verdict, 503, "the server is starting", "starting");
    verdict.headers.emplace_back("retry-after", "1");
  } else if (allow.empty()) {
    refuse(verdict, 404, "there is nothing at this path", "not_found");
  } else {
    refuse(verdict, 405, "this path does not take this method", "method_not_allowed");
    verdict.headers.emplace_back("allow", allow);
  }
  return verdict;
}

}  // namespace chorus
