#include "server/services.h"

#include <cstdio>
#include <new>
#include <utility>

#include "base/process_memory.h"
#include "server/web_files.h"

namespace chorus {
namespace {

// What reading a larger body takes, a hundred thousand small blocks at worst, does not stay with the thread's
// heap.
constexpr size_t kLargeBody = 256 << 10;

}  // namespace

void run_answering(HttpExchange& exchange, const std::function<void()>& action) {
  try {
    action();
  } catch (const ApiError& error) {
    answer_error(exchange, error);
  } catch (const Error& error) {
    answer_error(exchange, ApiError(400, "invalid_request_error", printable(error.what(), 300)));
  } catch (const std::bad_alloc&) {
    answer_error(exchange, ApiError(503, "unavailable_error", "out of memory; try again later"));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "chorus: request %s failed: %s\n", exchange.request().id.c_str(),
                 printable(error.what(), 300).c_str());
    answer_error(exchange, ApiError(500, "server_error", "internal error"));
  }
}

void run_later(const Services& services, std::shared_ptr<HttpExchange> exchange,
               std::function<void()> action) {
  HttpExchange& client = *exchange;
  auto work = [exchange = std::move(exchange), action = std::move(action)]() mutable {
    const bool large = exchange->request().body.size() > kLargeBody;
    if (!exchange->gone()) run_answering(*exchange, action);
    if (!large) return;
    action = nullptr;  // holds what was read
    exchange.reset();
    return_freed_memory();
  };
  if (!services.work.post(std::move(work)))
    answer_error(client, overloaded(services, "too many requests are being read"));
}

void refuse_storage(const HttpExchange& exchange, const Error& error) {
  std::fprintf(stderr, "chorus: request %s: %s\n", exchange.request().id.c_str(), error.what());
  throw ApiError(503, "unavailable_error", "what was sent cannot be kept; try again later");
}

ApiError overloaded(const Services& services, const std::string& message) {
  const bool limited = services.options.overload_status == 429;
  return {services.options.overload_status, limited ? "rate_limit_error" : "unavailable_error",
          message + "; try again later", "", "overloaded"};
}

json::object read_json_body(const HttpRequest& request) {
  json::value body;
  try {
    body = parse_json(request.body, "the body");
  } catch (const Error& error) {
    refuse("", "{}", error.what());
  }
  if (!body.is_object()) refuse("", "the body must be a JSON object");
  return std::move(body.get_object());
}

void answer_json(HttpExchange& exchange, const json::value& body, int status) {
  exchange.answer(status, "application/json", json::serialize(body));
}

std::vector<HttpRoute> server_routes(const Services& services) {
  std::vector<HttpRoute> routes = web_routes();
  for (auto part : {generation_routes, chorus_routes, image_routes, text_routes, adapter_routes,
                    upload_routes, status_routes, tuning_routes}) {
    for (HttpRoute& route : part(services)) routes.push_back(std::move(route));
  }
  return routes;
}

}  // namespace chorus
