// POST /v1/chat/completions and /v1/completions.

#include <chrono>
#include <ctime>
#include <utility>

#include "server/intake.h"

namespace chorus {
namespace {

using Clock = std::chrono::steady_clock;

// A request on its way to the engine: read on the work queue, then perhaps waiting for an adapter to be
// loaded.
struct Intake {
  std::shared_ptr<HttpExchange> exchange;
  Endpoint endpoint;
  Clock::time_point arrived;
  std::shared_ptr<void> slot;
  json::object body;
  AdapterRequest wanted;
};

void submit(const Services& services, Intake& intake, AdapterSelection acquired) {
  AnswerContext context;
  context.adapter_header = adapter_header(intake.wanted.parts, acquired.uses);
  context.series = &series_of(services, intake.wanted.parts);
  ApiRequest api = read_api_request(intake.body, intake.endpoint, services.model, std::move(intake.wanted),
                                    std::move(acquired), random_seed());
  const HttpRequest& request = intake.exchange->request();
  for (ApiPrompt& prompt : api.prompts) {
    prompt.request.tenant = request.key;
    prompt.request.deadline = intake.arrived + services.options.queue_time;
  }
  context.exchange = intake.exchange;
  context.id = {request.id, std::time(nullptr)};
  context.arrived = intake.arrived;
  context.slot = std::move(intake.slot);
  try {
    services.delivery.submit(
        std::make_shared<Answer>(std::move(api), std::move(context), services.model.tokenizer));
  } catch (const QueueFull&) {
    throw overloaded(services, "the queue is full");
  }
}

void read(const Services& services, const std::shared_ptr<Intake>& intake) {
  intake->body = read_json_body(intake->exchange->request());
  read_body(intake->body, intake->endpoint);
  intake->wanted = read_adapter_request(intake->body, services.model.names);
  const auto go_on = [&services, intake](const AdapterOutcome& outcome, const AdapterSelection& acquired) {
    if (outcome.problem != AdapterProblem::kNone) refuse_adapter(outcome, intake->wanted.model, "model");
    submit(services, *intake, acquired);
  };
  const std::thread::id here = std::this_thread::get_id();
  services.adapters.acquire(
      intake->wanted.parts, [=, &services](const AdapterOutcome& outcome, AdapterSelection acquired) {
        if (std::this_thread::get_id() == here) {
          go_on(outcome, acquired);
          return;
        }
        services.work.resume([=] { run_answering(*intake->exchange, [&] { go_on(outcome, acquired); }); });
      });
}

void generate(const Services& services, Endpoint endpoint, std::shared_ptr<HttpExchange> exchange) {
  const auto intake = std::make_shared<Intake>();
  intake->exchange = exchange;
  intake->endpoint = endpoint;
  intake->arrived = Clock::now();
  if (!admit(services, *exchange, intake->slot)) return;
  run_later(services, std::move(exchange), [&services, intake] { read(services, intake); });
}

}  // namespace

std::vector<HttpRoute> generation_routes(const Services& services) {
  const auto route = [&](const char* path, Endpoint endpoint) {
    return HttpRoute{.method = "POST", .path = path, .handler = [&services, endpoint](auto exchange) {
                       generate(services, endpoint, std::move(exchange));
                     }};
  };
  return {route("/v1/chat/completions", Endpoint::kChat), route("/v1/completions", Endpoint::kCompletions)};
}

}  // namespace chorus
