#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/adapter_manager.h"
#include "engine/runtime.h"
#include "http/http_server.h"
#include "server/services.h"

namespace chorus {

struct ServerOptions {
  HttpOptions http;
  ServiceOptions service;
  AdapterManagerOptions adapters;
  TuningOptions tuning;
  ImageOptions images;  // no engine: none
};

// The whole server: one model, its adapters, HTTP. Constructed in the order in which one part needs the
// other, and taken down in the reverse.
class Server {
 public:
  // Binds, and answers 503 until the model is there. Errors as HttpServer's and ImageQueue's.
  explicit Server(ServerOptions options);
  ~Server();

  // From here on requests are answered. `runtime` must outlive this.
  void serve(Runtime& runtime);
  uint16_t port() const;
  std::vector<std::string> route_lines() const;  // "METHOD PATH ACCESS", after serve()

  // New requests are refused and /ready says 404, while what runs goes on.
  void drain();
  bool drained() const;  // nothing is being answered any more

 private:
  struct Parts;
  const ServerOptions options_;
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<ImageQueue> images_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace chorus
