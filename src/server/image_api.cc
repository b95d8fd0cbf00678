// Pictures, drawn by an engine behind the server: POST /v1/images/generations, GET /v1/images/engine,
// POST /v1/images/cancel.

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <utility>

#include "images/prompt_text.h"
#include "server/intake.h"
#include "server/services.h"

namespace chorus {
namespace {

constexpr int kMinSide = 64, kMaxSide = 2048, kSideStep = 64, kMaxSteps = 150, kMaxNameBytes = 64;
constexpr int64_t kMaxSeed = (int64_t{1} << 32) - 1;
constexpr double kMaxCfgScale = 30;
constexpr std::array<std::string_view, 13> kFields{
    "prompt", "negative_prompt", "style", "size",           "seed", "steps", "cfg_scale", "sampler", "id",
    "n",      "model",           "user",  "response_format"};

ImageQueue& images_of(const Services& services) {
  if (services.images == nullptr)
    throw ApiError(503, "image_engine_error",
                   "there is no image engine: start the server with --image-engine http://127.0.0.1:7860");
  return *services.images;
}

std::string text_of(const json::object& body, std::string_view name, size_t most) {
  const json::value* value = find_field(body, name);
  if (value == nullptr) return {};
  const std::string_view text = read_string(*value, name);
  if (text.size() > most) refuse(name, "{} is longer than {} bytes", name, most);
  return std::string(text);
}

int64_t integer_of(const json::object& body, std::string_view name, int64_t min, int64_t max,
                   int64_t fallback) {
  const json::value* value = find_field(body, name);
  if (value == nullptr) return fallback;
  boost::system::error_code wrong;
  const auto number = value->is_number() ? value->to_number<int64_t>(wrong) : min - 1;
  if (wrong || number < min || number > max)
    refuse(name, "{} must be an integer from {} to {}", name, min, max);
  return number;
}

// "1024x768"
void read_size(const std::string& text, ImageRequest& request) {
  const char* const end = text.data() + text.size();
  const auto width = std::from_chars(text.data(), end, request.width);
  const bool crossed = width.ec == std::errc() && width.ptr < end && *width.ptr == 'x';
  const auto height = std::from_chars(crossed ? width.ptr + 1 : end, end, request.height);
  const auto fits = [](int side) { return side >= kMinSide && side <= kMaxSide && side % kSideStep == 0; };
  if (!crossed || height.ec != std::errc() || height.ptr != end || !fits(request.width) ||
      !fits(request.height))
    refuse("size", "size must be as 1024x768, each side a multiple of {} from {} to {}", kSideStep, kMinSide,
           kMaxSide);
}

void read_prompts(const json::object& body, ImageRequest& request) {
  const std::string name = text_of(body, "style", kMaxNameBytes);
  const ImageStyle* style = find_image_style(name.empty() ? "none" : name);
  if (style == nullptr) {
    std::vector<std::string_view> names;
    for (const ImageStyle& one : image_styles()) names.push_back(one.name);
    refuse("style", "style must be one of {}", fmt::join(names, ", "));
  }
  constexpr size_t kMostText = 50'000;
  const std::string prompt = text_of(body, "prompt", kMostText);
  if (clean_image_prompt(prompt).empty()) refuse("prompt", "prompt must say what to draw");
  request.prompt = styled_image_prompt(prompt, *style);
  request.negative_prompt = negative_image_prompt(text_of(body, "negative_prompt", kMostText), *style);
}

ImageRequest read_image_request(const json::object& body) {
  for (const auto& [name, value] : body) {
    if (std::ranges::find(kFields, std::string_view(name)) == kFields.end())
      refuse(printable(name), "unknown field: {}", printable(name));
  }
  ImageRequest request;
  integer_of(body, "n", 1, 1, 1);
  const std::string format = text_of(body, "response_format", kMaxNameBytes);
  if (!format.empty() && format != "b64_json") refuse("response_format", "response_format must be b64_json");
  read_prompts(body, request);
  const std::string size = text_of(body, "size", kMaxNameBytes);
  if (!size.empty()) read_size(size, request);
  request.seed = integer_of(body, "seed", 0, kMaxSeed, static_cast<int64_t>(random_seed() >> 32));
  request.steps = static_cast<int>(integer_of(body, "steps", 1, kMaxSteps, request.steps));
  if (const json::value* scale = find_field(body, "cfg_scale")) {
    request.cfg_scale = scale->is_number() ? scale->to_number<double>() : -1;
    if (!(request.cfg_scale >= 0 && request.cfg_scale <= kMaxCfgScale))
      refuse("cfg_scale", "cfg_scale must be a number from 0 to {}", kMaxCfgScale);
  }
  const std::string sampler = text_of(body, "sampler", kMaxNameBytes);
  if (!sampler.empty()) request.sampler = printable(sampler);
  return request;
}

ApiError outcome_error(const ImageOutcome& outcome) {
  switch (outcome.problem) {
    case ImageProblem::kCancelled:
      return {409, "cancelled_error", outcome.message};
    case ImageProblem::kTimeout:
      return {504, "image_engine_error", outcome.message};
    case ImageProblem::kStopping:
      return {503, "unavailable_error", outcome.message};
    default:
      return {502, "image_engine_error", outcome.message};
  }
}

void answer_picture(HttpExchange& exchange, const ImageRequest& request, ImageOutcome outcome) {
  exchange.on_gone({});
  if (outcome.problem != ImageProblem::kNone) return answer_error(exchange, outcome_error(outcome));
  answer_json(
      exchange,
      json::object{{"created", std::time(nullptr)},
                   {"data", {{{"b64_json", std::move(outcome.base64)}, {"revised_prompt", request.prompt}}}},
                   {"negative_prompt", request.negative_prompt},
                   {"seed", request.seed},
                   {"steps", request.steps},
                   {"cfg_scale", request.cfg_scale},
                   {"width", outcome.size.width},
                   {"height", outcome.size.height},
                   {"elapsed", outcome.seconds}});
}

void generate(const Services& services, const std::shared_ptr<HttpExchange>& exchange) {
  ImageQueue& images = images_of(services);
  const json::object body = read_json_body(exchange->request());
  ImageRequest request = read_image_request(body);
  std::string id = text_of(body, "id", kMaxNameBytes);
  if (id.empty()) id = exchange->request().id;
  const std::string owner = exchange->request().key;
  const auto taken = images.submit(
      {.id = id, .owner = owner, .request = request, .done = [exchange, request](ImageOutcome outcome) {
         answer_picture(*exchange, request, std::move(outcome));
       }});
  if (taken == ImageQueue::Taken::kFull) throw overloaded(services, "too many pictures wait to be drawn");
  if (taken == ImageQueue::Taken::kIdInUse) refuse("id", "id: a picture of that id is being drawn");
  if (taken == ImageQueue::Taken::kStopping)
    throw ApiError(503, "unavailable_error", "the server is shutting down");
  exchange->on_gone([&images, id, owner] { images.cancel(id, owner); });
}

json::value active_object(const ImageStatus::Active& active, const std::string& owner) {
  json::object object{{"id", active.owner == owner ? json::value(active.id) : json::value(nullptr)},
                      {"elapsed", active.seconds},
                      {"progress", nullptr},
                      {"step", nullptr},
                      {"steps", nullptr}};
  if (!active.progress) return object;
  object["progress"] = active.progress->share;
  if (active.progress->steps > 0) {
    object["step"] = active.progress->step;
    object["steps"] = active.progress->steps;
  }
  return object;
}

void show_engine(const Services& services, HttpExchange& exchange) {
  if (services.images == nullptr) return answer_json(exchange, json::object{{"configured", false}});
  const ImageStatus status = services.images->status();
  json::array styles;
  for (const ImageStyle& style : image_styles()) styles.emplace_back(json::string_view(style.name));
  answer_json(exchange,
              json::object{{"configured", true},
                           {"ready", status.ready},
                           {"dialect", status.dialect ? json::value(image_dialect_name(*status.dialect))
                                                      : json::value(nullptr)},
                           {"model", or_null(status.model)},
                           {"error", or_null(status.error)},
                           {"styles", std::move(styles)},
                           {"queue", status.waiting},
                           {"active", status.active ? active_object(*status.active, exchange.request().key)
                                                    : json::value(nullptr)}});
}

void cancel(const Services& services, HttpExchange& exchange) {
  const json::object body = read_json_body(exchange.request());
  const std::string id = text_of(body, "id", kMaxNameBytes);
  if (!images_of(services).cancel(id, exchange.request().key))
    throw ApiError(404, "not_found_error", fmt::format("no picture {} is being drawn", printable(id)), "id");
  answer_json(exchange, json::object{{"id", id}, {"cancelled", true}});
}

HttpRoute route(const Services& services, const char* method, const char* path,
                void (*action)(const Services&, HttpExchange&)) {
  return {.method = method, .path = path, .handler = [&services, action](auto exchange) {
            run_answering(*exchange, [&] { action(services, *exchange); });
          }};
}

}  // namespace

std::vector<HttpRoute> image_routes(const Services& services) {
  return {{.method = "POST",
           .path = "/v1/images/generations",
           .handler =
               [&services](auto exchange) {
                 run_later(services, exchange, [&services, exchange] { generate(services, exchange); });
               }},
          route(services, "GET", "/v1/images/engine", show_engine),
          route(services, "POST", "/v1/images/cancel", cancel)};
}

}  // namespace chorus
