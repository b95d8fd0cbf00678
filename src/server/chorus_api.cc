// POST /v1/chorus: many voices, one prompt, one batch. POST /v1/chorus/stop ends one of them.

#include <ctime>
#include <utility>

#include "server/chorus_answer.h"
#include "server/chorus_request.h"
#include "server/intake.h"

namespace chorus {
namespace {

// A request on its way to the engine: the adapters of its voices are had one after the other.
struct ChorusIntake {
  std::shared_ptr<HttpExchange> exchange;
  std::chrono::steady_clock::time_point arrived;
  std::shared_ptr<void> slot;
  ChorusRequest request;
  std::vector<AdapterRequest> wanted;
  std::vector<AdapterSelection> acquired;
};

// Runs what reads voice `index`; an error of it says whose it is.
template <typename F>
void of_voice(const ChorusIntake& intake, size_t index, const F& read) {
  const std::string& name = intake.request.voices[index].name;
  try {
    read();
  } catch (const ApiError& error) {
    throw voice_error(error, name, index);
  } catch (const Error& error) {
    throw voice_error(ApiError(400, "invalid_request_error", printable(error.what(), 300)), name, index);
  }
}

void submit(const Services& services, ChorusIntake& intake) {
  const HttpRequest& request = intake.exchange->request();
  std::vector<ChorusVoice> voices;
  const uint64_t seed = random_seed() >> 11;  // one that JSON can say
  for (size_t i = 0; i < intake.request.voices.size(); ++i) {
    of_voice(intake, i, [&] {
      ChorusVoice voice{intake.request.voices[i].name,
                        {},
                        adapter_header(intake.wanted[i].parts, intake.acquired[i].uses),
                        &series_of(services, intake.wanted[i].parts)};
      voice.api = read_api_request(voice_body(intake.request, i, WithPrompt::kYes), intake.request.endpoint,
                                   services.model, std::move(intake.wanted[i]), std::move(intake.acquired[i]),
                                   seed + i);
      if (voice.api.prompts.size() != 1) refuse("prompt", "prompt must be one text or one list of token ids");
      Request& one = voice.api.prompts[0].request;
      one.tenant = request.key;
      one.deadline = intake.arrived + services.options.queue_time;
      voices.push_back(std::move(voice));
    });
  }
  try {
    const auto answer = std::make_shared<ChorusAnswer>(
        std::move(voices), intake.request.stream, intake.exchange, ResponseId{request.id, std::time(nullptr)},
        intake.arrived, std::move(intake.slot), services.runtime.engine(), services.model.tokenizer);
    services.delivery.submit(answer);
    services.choruses.add(answer->id(), answer);
  } catch (const QueueFull&) {
    throw overloaded(services, "the queue is full");
  }
}

// Goes on once the adapters of the voices before `index` are there.
void acquire(const Services& services, const std::shared_ptr<ChorusIntake>& intake, size_t index) {
  if (index == intake->wanted.size()) return submit(services, *intake);
  const auto go_on = [&services, intake, index](const AdapterOutcome& outcome, AdapterSelection acquired) {
    of_voice(*intake, index, [&] {
      if (outcome.problem != AdapterProblem::kNone)
        refuse_adapter(outcome, intake->wanted[index].model, "model");
    });
    intake->acquired.push_back(std::move(acquired));
    acquire(services, intake, index + 1);
  };
  const std::thread::id here = std::this_thread::get_id();
  services.adapters.acquire(
      intake->wanted[index].parts, [=, &services](const AdapterOutcome& outcome, AdapterSelection acquired) {
        if (std::this_thread::get_id() == here) return go_on(outcome, std::move(acquired));
        services.work.resume([=] { run_answering(*intake->exchange, [&] { go_on(outcome, acquired); }); });
      });
}

void read(const Services& services, const std::shared_ptr<ChorusIntake>& intake) {
  intake->request = read_chorus_request(read_json_body(intake->exchange->request()));
  for (size_t i = 0; i < intake->request.voices.size(); ++i) {
    of_voice(*intake, i, [&] {
      const json::value body = voice_body(intake->request, i, WithPrompt::kNo);
      intake->wanted.push_back(
          read_adapter_request(read_body(body, intake->request.endpoint), services.model.names));
    });
  }
  acquire(services, intake, 0);
}

void sing(const Services& services, std::shared_ptr<HttpExchange> exchange) {
  const auto intake = std::make_shared<ChorusIntake>();
  intake->exchange = exchange;
  intake->arrived = std::chrono::steady_clock::now();
  if (!admit(services, *exchange, intake->slot)) return;
  run_later(services, std::move(exchange), [&services, intake] { read(services, intake); });
}

// {"id", "voice"}: "stopped" is false where the voice had ended before. Another key's chorus is not there.
void stop_voice(const Services& services, HttpExchange& exchange) {
  const json::object body = read_json_body(exchange.request());
  const auto text = [&body](std::string_view name) {
    const json::value* value = find_field(body, name);
    if (value == nullptr) refuse(name, "{} is missing", name);
    return std::string(read_string(*value, name));
  };
  const std::string id = text("id"), voice = text("voice");
  const std::shared_ptr<ChorusAnswer> answer = services.choruses.find(id);
  if (answer == nullptr || answer->exchange().request().key != exchange.request().key)
    throw ApiError(404, "not_found_error", fmt::format("no chorus {} is running", printable(id, 80)), "id");
  const std::optional<size_t> index = answer->find_voice(voice);
  if (!index)
    throw ApiError(404, "not_found_error", fmt::format("the chorus has no voice {}", printable(voice, 80)),
                   "voice");
  answer_json(
      exchange,
      json::object{{"id", id}, {"voice", voice}, {"stopped", services.delivery.cancel(*answer, *index)}});
}

}  // namespace

std::vector<HttpRoute> chorus_routes(const Services& services) {
  return {{.method = "POST",
           .path = "/v1/chorus",
           .handler = [&services](auto exchange) { sing(services, std::move(exchange)); }},
          {.method = "POST", .path = "/v1/chorus/stop", .handler = [&services](auto exchange) {
             run_answering(*exchange, [&] { stop_voice(services, *exchange); });
           }}};
}

}  // namespace chorus
