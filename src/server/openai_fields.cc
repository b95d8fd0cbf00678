#include "server/openai_fields.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <limits>

namespace chorus {
namespace {

constexpr NumberField integer(std::string_view name, int64_t min, int64_t max) {
  return {name, true, min, max, 0, 0};
}
constexpr NumberField real(std::string_view name, double min, double max) {
  return {name, false, 0, 0, min, max};
}

constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();

constexpr NumberField kNumbers[] = {
    integer("max_tokens", 0, kInt32Max),
    integer("max_completion_tokens", 1, kInt32Max),
    integer("min_tokens", 0, kInt32Max),
    integer("n", 1, 8),
    integer("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()),
    integer("top_k", -1, kInt32Max),  // -1 and 0: all
    integer("logprobs", 0, 20),
    integer("top_logprobs", 0, 20),
    integer("token id", 0, kInt32Max),
    integer("adapter index", 0, kInt32Max),
    real("temperature", 0, 100),
    real("top_p", 0, 1),
    real("min_p", 0, 1),
    real("repetition_penalty", 0.1, 10),
    real("presence_penalty", -2, 2),
    real("frequency_penalty", -2, 2),
    real("logit_bias", -100, 100),
    real("scale", -100, 100),
};

enum class Use : uint8_t { kRead, kIgnored, kRefused };
constexpr int kForChat = 1, kForCompletions = 2, kForBoth = 3;

struct Field {
  std::string_view name;
  Use use;
  int endpoints;
};

constexpr Field kFields[] = {
    {"model", Use::kRead, kForBoth},
    {"adapters", Use::kRead, kForBoth},
    {"messages", Use::kRead, kForChat},
    {"tools", Use::kRead, kForChat},
    {"tool_choice", Use::kRead, kForChat},
    {"response_format", Use::kRead, kForBoth},
    {"max_completion_tokens", Use::kRead, kForChat},
    {"top_logprobs", Use::kRead, kForChat},
    {"prompt", Use::kRead, kForCompletions},
    {"echo", Use::kRead, kForCompletions},
    {"max_tokens", Use::kRead, kForBoth},
    {"min_tokens", Use::kRead, kForBoth},
    {"ignore_eos", Use::kRead, kForBoth},
    {"temperature", Use::kRead, kForBoth},
    {"top_p", Use::kRead, kForBoth},
    {"top_k", Use::kRead, kForBoth},
    {"min_p", Use::kRead, kForBoth},
    {"repetition_penalty", Use::kRead, kForBoth},
    {"presence_penalty", Use::kRead, kForBoth},
    {"frequency_penalty", Use::kRead, kForBoth},
    {"logit_bias", Use::kRead, kForBoth},
    {"logprobs", Use::kRead, kForBoth},
    {"n", Use::kRead, kForBoth},
    {"seed", Use::kRead, kForBoth},
    {"stop", Use::kRead, kForBoth},
    {"stop_token_ids", Use::kRead, kForBoth},
    {"stream", Use::kRead, kForBoth},
    {"stream_options", Use::kRead, kForBoth},
    {"parallel_tool_calls", Use::kRead, kForChat},
    {"structured_outputs", Use::kRead, kForBoth},
    {"guided_json", Use::kRead, kForBoth},
    {"guided_regex", Use::kRead, kForBoth},
    {"guided_choice", Use::kRead, kForBoth},
    {"guided_grammar", Use::kRead, kForBoth},
    {"grammar", Use::kRead, kForBoth},
    {"chat_template_kwargs", Use::kRead, kForChat},
    {"lora", Use::kRead, kForBoth},
    {"adapter_id", Use::kRead, kForBoth},
    {"json_schema", Use::kRead, kForBoth},
    {"adapter_parameters", Use::kRead, kForBoth},
    {"adapter_source", Use::kRead, kForBoth},
    // Of OpenAI's, and without effect on the answer.
    {"user", Use::kIgnored, kForBoth},
    {"metadata", Use::kIgnored, kForBoth},
    {"store", Use::kIgnored, kForBoth},
    {"service_tier", Use::kIgnored, kForBoth},
    {"safety_identifier", Use::kIgnored, kForBoth},
    {"prompt_cache_key", Use::kIgnored, kForBoth},
    {"prompt_cache_retention", Use::kIgnored, kForBoth},
    // They would change the answer; to ignore them would be to answer another question.
    {"best_of", Use::kRefused, kForBoth},
    {"suffix", Use::kRefused, kForBoth},
    {"functions", Use::kRefused, kForBoth},
    {"function_call", Use::kRefused, kForBoth},
    {"audio", Use::kRefused, kForBoth},
    {"modalities", Use::kRefused, kForBoth},
    {"prediction", Use::kRefused, kForBoth},
    {"reasoning_effort", Use::kRefused, kForBoth},
    {"verbosity", Use::kRefused, kForBoth},
    {"web_search_options", Use::kRefused, kForBoth},
    {"chat_template", Use::kRefused, kForBoth},
    {"continue_final_message", Use::kRefused, kForBoth},
};

const NumberField& number_named(std::string_view name) {
  const auto* found = std::ranges::find(kNumbers, name, &NumberField::name);
  assert(found != std::end(kNumbers));
  return *found;
}

[[noreturn]] void refuse_range(const NumberField& field, std::string_view param) {
  if (field.integer) {
    refuse(param, "{} must be an integer from {} to {}", param, field.integer_min, field.integer_max);
  }
  refuse(param, "{} must be a number from {} to {}", param, field.min, field.max);
}

}  // namespace

std::span<const NumberField> number_fields() { return kNumbers; }

void check_field_names(const json::object& body, Endpoint endpoint) {
  const int mask = endpoint == Endpoint::kChat ? kForChat : kForCompletions;
  for (const auto& [key, value] : body) {
    if (value.is_null()) continue;
    const auto* field = std::ranges::find(kFields, std::string_view(key), &Field::name);
    const std::string name = printable(key);
    if (field == std::end(kFields) || (field->endpoints & mask) == 0) refuse(name, "unknown field: {}", name);
    if (field->use == Use::kRefused) refuse(name, "{} is not supported yet", name);
  }
}

const json::value* find_field(const json::object& body, std::string_view name) {
  const json::value* value = body.if_contains(name);
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::optional<int64_t> integer_field(const json::object& body, std::string_view name) {
  const json::value* value = find_field(body, name);
  return value == nullptr ? std::nullopt : std::optional(read_integer(*value, name, name));
}

std::optional<double> number_field(const json::object& body, std::string_view name) {
  const json::value* value = find_field(body, name);
  return value == nullptr ? std::nullopt : std::optional(read_number(*value, name, name));
}

bool bool_field(const json::object& body, std::string_view name, bool fallback) {
  const json::value* value = find_field(body, name);
  if (value == nullptr) return fallback;
  if (!value->is_bool()) refuse(name, "{} must be true or false", name);
  return value->get_bool();
}

int64_t read_integer(const json::value& value, std::string_view name, std::string_view param) {
  const NumberField& field = number_named(name);
  int64_t result = 0;
  if (value.is_int64()) {
    result = value.get_int64();
  } else if (value.is_double() && std::abs(value.get_double()) <= 0x1p53 &&
             std::trunc(value.get_double()) == value.get_double()) {
    result = static_cast<int64_t>(value.get_double());  // 5.0, as some clients write 5
  } else {
    refuse_range(field, param);
  }
  if (result < field.integer_min || result > field.integer_max) refuse_range(field, param);
  return result;
}

double read_number(const json::value& value, std::string_view name, std::string_view param) {
  const NumberField& field = number_named(name);
  if (!value.is_number()) refuse_range(field, param);
  const double result = value.to_number<double>();
  if (!(result >= field.min && result <= field.max)) refuse_range(field, param);
  return result;
}

std::string_view read_string(const json::value& value, std::string_view param) {
  if (!value.is_string()) refuse(param, "{} must be a string", param);
  return value.get_string();
}

const json::object& read_object(const json::value& value, std::string_view param) {
  if (!value.is_object()) refuse(param, "{} must be an object", param);
  return value.get_object();
}

const json::array& read_array(const json::value& value, std::string_view param, size_t min, size_t max) {
  if (!value.is_array()) refuse(param, "{} must be a list", param);
  const size_t size = value.get_array().size();
  if (size < min || size > max)
    refuse(param, "{} has {} elements; it must have {} to {}", param, size, min, max);
  return value.get_array();
}

std::vector<int32_t> read_token_ids(const json::array& array, std::string_view param, int vocab) {
  std::vector<int32_t> ids;
  ids.reserve(array.size());
  for (const json::value& value : array) {
    const int64_t id = read_integer(value, "token id", param);
    if (id >= vocab) refuse(param, "{}: token id {} is outside the vocabulary of {}", param, id, vocab);
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

}  // namespace chorus
