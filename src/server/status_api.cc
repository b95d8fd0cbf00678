// Health, readiness and metrics.

#include <ctime>

#include "base/process_memory.h"
#include "server/services.h"

namespace chorus {
namespace {

// A step that takes this long has hung: the engine serves nobody any more.
constexpr std::chrono::seconds kHungStep{60};

bool healthy(const Services& services) { return services.delivery.step_age() < kHungStep; }

void health(const Services& services, HttpExchange& exchange) {
  if (healthy(services)) {
    answer_json(exchange, json::object{{"status", "ok"}});
  } else {
    answer_json(exchange, json::object{{"status", "the engine hangs"}}, 503);
  }
}

// 404 takes a replica out of a load balancer's turn while its running streams finish.
void ready(const Services& services, HttpExchange& exchange) {
  if (services.draining.load()) {
    answer_json(exchange, json::object{{"status", "draining"}}, 404);
  } else if (!healthy(services)) {
    answer_json(exchange, json::object{{"status", "the engine hangs"}}, 503);
  } else if (!services.adapters.caught_up()) {
    answer_json(exchange, json::object{{"status", "loading adapters"}}, 503);
  } else {
    answer_json(exchange, json::object{{"status", "ready"}});
  }
}

MetricsSources metrics_sources(const Services& services) {
  return {.engine = services.runtime.engine().stats(),
          .pages = services.runtime.engine().config().pages,
          .page_positions = kPagePositions,
          .kv_type = services.runtime.runner().kv_type_name(),
          .adapters = services.adapters.list(),
          .max_adapters = services.adapters.max_adapters(),
          .adapter_memory_bytes = services.adapters.memory_bytes(),
          .http = services.http.stats(),
          .resident_bytes = resident_bytes(),
          .now = std::time(nullptr)};
}

void metrics(const Services& services, HttpExchange& exchange) {
  exchange.answer(200, "text/plain; version=0.0.4; charset=utf-8",
                  services.metrics.render(metrics_sources(services)));
}

void version(const Services& services, HttpExchange& exchange) {
  answer_json(exchange, json::object{{"version", services.options.version}});
}

HttpRoute get(const Services& services, const char* path, Access access,
              void (*action)(const Services&, HttpExchange&)) {
  return {.method = "GET", .path = path, .access = access, .handler = [&services, action](auto exchange) {
            run_answering(*exchange, [&] { action(services, *exchange); });
          }};
}

}  // namespace

std::vector<HttpRoute> status_routes(const Services& services) {
  std::vector<HttpRoute> routes{
      get(services, "/health", Access::kPublic, health), get(services, "/ready", Access::kPublic, ready),
      get(services, "/version", Access::kUser, version), get(services, "/metrics", Access::kAdmin, metrics)};
  return routes;
}

}  // namespace chorus
