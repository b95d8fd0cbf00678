#include "server/server.h"

#include <ctime>
#include <utility>

#include "server/api_model.h"
#include "server/web_files.h"

namespace chorus {
namespace {

constexpr int kMaxWaitingWork = 512;

std::vector<HttpRoute> loading_routes() {
  const auto answer = [](int status, const char* text) {
    return [=](std::shared_ptr<HttpExchange> exchange) {
      answer_json(*exchange, json::object{{"status", text}}, status);
    };
  };
  std::vector<HttpRoute> routes = web_routes();
  routes.push_back(
      {.method = "GET", .path = "/health", .access = Access::kPublic, .handler = answer(200, "ok")});
  routes.push_back(
      {.method = "GET", .path = "/ready", .access = Access::kPublic, .handler = answer(503, "loading")});
  return routes;
}

std::string_view access_name(Access access) {
  switch (access) {
    case Access::kPublic:
      return "public";
    case Access::kUser:
      return "user";
    case Access::kAdmin:
      return "admin";
  }
  return "";
}

}  // namespace

// Members are destroyed from the last to the first: the jobs, which use the loader, the loader, whose
// callbacks come back to the work queue, then the queue, whose work submits, then delivery.
struct Server::Parts {
  Parts(Runtime& runtime, const ServerOptions& options, HttpServer& http, ImageQueue* images)
      : slots(options.service.key_concurrency),
        metrics(options.service.served_name, options.service.version),
        delivery(runtime.engine(), http),
        work(options.service.workers, kMaxWaitingWork),
        adapters(runtime.adapters(), options.adapters),
        tuning(options.tuning.directory.empty()
                   ? nullptr
                   : std::make_unique<TuningJobs>(runtime, adapters, options.tuning)),
        services{.options = options.service,
                 .runtime = runtime,
                 .adapters = adapters,
                 .model = api_model(runtime, options.service.served_name, &lora, &adapters),
                 .metrics = metrics,
                 .delivery = delivery,
                 .work = work,
                 .slots = slots,
                 .lora = lora,
                 .choruses = choruses,
                 .http = http,
                 .tuning = tuning.get(),
                 .images = images,
                 .draining = draining,
                 .started = std::time(nullptr)} {}
  ~Parts() { work.join(); }

  LoraIds lora;
  RunningChoruses choruses;
  KeySlots slots;
  Metrics metrics;
  Delivery delivery;
  WorkQueue work;
  AdapterManager adapters;
  std::unique_ptr<TuningJobs> tuning;
  std::atomic<bool> draining{false};
  const Services services;
};

Server::Server(ServerOptions options)
    : options_(std::move(options)),
      http_(std::make_unique<HttpServer>(options_.http, loading_routes(), true)),
      images_(options_.images.engine.empty() ? nullptr : std::make_unique<ImageQueue>(options_.images)) {
  http_->start();
}

Server::~Server() { http_->stop(); }

void Server::serve(Runtime& runtime) {
  parts_ = std::make_unique<Parts>(runtime, options_, *http_, images_.get());
  http_->set_routes(server_routes(parts_->services));
}

uint16_t Server::port() const { return http_->port(); }

std::vector<std::string> Server::route_lines() const {
  std::vector<std::string> lines;
  for (const HttpRoute& route : server_routes(parts_->services))
    lines.push_back(fmt::format("{} {} {}", route.method, route.path, access_name(route.access)));
  return lines;
}

void Server::drain() {
  if (parts_ != nullptr) {
    parts_->draining = true;
    if (parts_->tuning) parts_->tuning->stop();
  }
  if (images_) images_->stop();
  http_->drain({"/health", "/ready", "/metrics"});
}

bool Server::drained() const { return http_->open_exchanges() == 0; }

}  // namespace chorus
