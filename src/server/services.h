#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "engine/adapter_manager.h"
#include "engine/runtime.h"
#include "images/image_queue.h"
#include "server/answer.h"
#include "server/delivery.h"
#include "server/key_slots.h"
#include "server/lora_ids.h"
#include "server/metrics.h"
#include "server/openai_request.h"
#include "server/running_choruses.h"
#include "server/work_queue.h"
#include "tuning/tuning_jobs.h"

namespace chorus {

struct ServiceOptions {
  std::string served_name = "base";
  std::string model;  // as the server was told it: a name of the cache or a path
  std::string version;
  int overload_status = 503;             // or 429
  int key_concurrency = 64;              // requests of one API key at once
  std::chrono::seconds queue_time{120};  // that a request waits at most before it runs
  int workers = 2;
};

// What the paths of the server share. Everything is thread-safe and outlives the HTTP server.
struct Services {
  const ServiceOptions options;
  Runtime& runtime;
  AdapterManager& adapters;
  const ApiModel model;
  Metrics& metrics;
  Delivery& delivery;
  WorkQueue& work;
  KeySlots& slots;
  LoraIds& lora;
  RunningChoruses& choruses;
  HttpServer& http;
  TuningJobs* tuning;  // null: the server was given no directory for it
  ImageQueue* images;  // null: the server was given no engine
  std::atomic<bool>& draining;
  const int64_t started;  // seconds since 1970
};

// Runs `action` on the work queue and answers what it throws. `action` owns the exchange's answer otherwise.
void run_later(const Services& services, std::shared_ptr<HttpExchange> exchange,
               std::function<void()> action);
// Runs `action` here and answers what it throws: ApiError as it is, Error as 400, all else as 500.
void run_answering(HttpExchange& exchange, const std::function<void()>& action);

// The disk is the operator's business: the reason goes to the log.
[[noreturn]] void refuse_storage(const HttpExchange& exchange, const Error& error);
ApiError overloaded(const Services& services, const std::string& message);

json::object read_json_body(const HttpRequest& request);
void answer_json(HttpExchange& exchange, const json::value& body, int status = 200);

// One table of paths: who may call them, and what they do.
std::vector<HttpRoute> server_routes(const Services& services);

// The parts of that table.
std::vector<HttpRoute> chorus_routes(const Services& services);
std::vector<HttpRoute> generation_routes(const Services& services);
std::vector<HttpRoute> image_routes(const Services& services);
std::vector<HttpRoute> text_routes(const Services& services);
std::vector<HttpRoute> adapter_routes(const Services& services);
std::vector<HttpRoute> upload_routes(const Services& services);
std::vector<HttpRoute> status_routes(const Services& services);
std::vector<HttpRoute> tuning_routes(const Services& services);

}  // namespace chorus
