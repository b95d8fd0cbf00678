#include "server/intake.h"

#include <random>

namespace chorus {

bool admit(const Services& services, HttpExchange& exchange, std::shared_ptr<void>& slot) {
  const std::string& key = exchange.request().key;
  if (!key.empty()) {
    slot = services.slots.take(key);
    if (slot == nullptr) {
      answer_error(exchange, ApiError(429, "rate_limit_error",
                                      fmt::format("this key has {} requests running; at most that many",
                                                  services.options.key_concurrency)));
      return false;
    }
  }
  const EngineStats stats = services.runtime.engine().stats();
  if (stats.waiting >= services.runtime.engine().config().max_queue) {
    answer_error(exchange, overloaded(services, "the queue is full"));
    return false;
  }
  return true;
}

uint64_t random_seed() {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return generator();
}

std::string adapter_header(const std::vector<MixPart>& parts, const std::vector<AdapterUse>& uses) {
  std::string text;
  for (size_t i = 0; i < uses.size(); ++i) {
    if (i > 0) text += ", ";
    text += parts[i].name;
    if (parts[i].scale != 1) text += fmt::format("@{}", parts[i].scale);
    text += " sha256:" + uses[i].adapter->id();
  }
  return text;
}

Series& series_of(const Services& services, const std::vector<MixPart>& parts) {
  if (parts.empty()) return services.metrics.series_of(services.options.served_name);
  std::string text;
  for (const MixPart& part : parts) {
    text += text.empty() ? part.name : "+" + part.name;
    if (part.scale != 1) text += fmt::format("@{}", part.scale);
  }
  return services.metrics.series_of(text);
}

void refuse_adapter(const AdapterOutcome& outcome, const std::string& model, const std::string& param) {
  if (outcome.problem == AdapterProblem::kNotFound) refuse_model(model, param);
  const bool later =
      outcome.problem == AdapterProblem::kNoMemory || outcome.problem == AdapterProblem::kStopping;
  throw ApiError(later ? 503 : 500, later ? "unavailable_error" : "server_error",
                 fmt::format("the adapter could not be loaded: {}", outcome.message), param);
}

}  // namespace chorus
