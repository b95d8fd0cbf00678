#include "server/openai_request.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "formats/unicode.h"
#include "server/openai_messages.h"

namespace chorus {
namespace {

std::vector<std::string> read_stop(const json::object& body) {
  std::vector<std::string> stops;
  const auto add = [&](const json::value& value) {
    const std::string_view stop = read_string(value, "stop");
    if (stop.empty() || stop.size() > kMaxStopBytes)
      refuse("stop", "a stop string has {} bytes; it must have 1 to {}", stop.size(), kMaxStopBytes);
    stops.emplace_back(stop);
  };
  const json::value* value = find_field(body, "stop");
  if (value == nullptr) return stops;
  if (value->is_string()) {
    add(*value);
  } else {
    for (const json::value& stop : read_array(*value, "stop", 0, kMaxStops)) add(stop);
  }
  return stops;
}

std::vector<std::pair<int32_t, float>> read_logit_bias(const json::object& body, int vocab) {
  std::vector<std::pair<int32_t, float>> biases;
  const json::value* value = find_field(body, "logit_bias");
  if (value == nullptr) return biases;
  const json::object& entries = read_object(*value, "logit_bias");
  if (entries.size() > kMaxLogitBias)
    refuse("logit_bias", "logit_bias has {} entries; at most {}", entries.size(), kMaxLogitBias);
  for (const auto& [key, bias] : entries) {
    const std::string_view text = key;
    int32_t id = -1;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (error != std::errc() || end != text.data() + text.size() || id < 0 || id >= vocab)
      refuse("logit_bias", "logit_bias: {} is not a token id from 0 to {}", printable(text), vocab - 1);
    biases.emplace_back(id, static_cast<float>(read_number(bias, "logit_bias", "logit_bias")));
  }
  return biases;
}

// -1: none wanted.
int read_logprobs(const json::object& body, Endpoint endpoint) {
  if (endpoint == Endpoint::kCompletions)
    return static_cast<int>(integer_field(body, "logprobs").value_or(-1));
  const auto top = integer_field(body, "top_logprobs");
  const bool wanted = bool_field(body, "logprobs", false);
  if (top && !wanted) refuse("top_logprobs", "top_logprobs needs \"logprobs\": true");
  return wanted ? static_cast<int>(top.value_or(0)) : -1;
}

SamplingParams read_sampling(const json::object& body, Endpoint endpoint, const ApiModel& model) {
  constexpr double kLeastTopP = 1e-6;  // 0 means the same: the likeliest token only
  const auto real = [&](std::string_view name, float fallback) {
    return static_cast<float>(number_field(body, name).value_or(fallback));
  };
  SamplingParams s;
  s.temperature = real("temperature", s.temperature);
  s.top_k = static_cast<int>(std::max<int64_t>(integer_field(body, "top_k").value_or(0), 0));
  s.top_p = static_cast<float>(std::max(number_field(body, "top_p").value_or(1), kLeastTopP));
  s.min_p = real("min_p", s.min_p);
  s.repetition_penalty = real("repetition_penalty", s.repetition_penalty);
  s.presence_penalty = real("presence_penalty", s.presence_penalty);
  s.frequency_penalty = real("frequency_penalty", s.frequency_penalty);
  s.logit_bias = read_logit_bias(body, model.limits.vocab);
  s.top_logprobs = read_logprobs(body, endpoint);
  return s;
}

std::vector<int32_t> read_stop_ids(const json::object& body, const ApiModel& model) {
  std::vector<int32_t> ids;
  if (!bool_field(body, "ignore_eos", false)) ids = model.tokenizer.stop_ids();
  if (const json::value* value = find_field(body, "stop_token_ids")) {
    const json::array& array = read_array(*value, "stop_token_ids", 0, kMaxStopIds);
    for (const int32_t id : read_token_ids(array, "stop_token_ids", model.limits.vocab)) ids.push_back(id);
  }
  return ids;
}

void read_stream(const json::object& body, ApiRequest& api) {
  api.stream = bool_field(body, "stream", false);
  const json::value* options = find_field(body, "stream_options");
  if (options == nullptr) return;
  if (!api.stream) refuse("stream_options", "stream_options needs \"stream\": true");
  const json::object& object = read_object(*options, "stream_options");
  for (const auto& [key, unused] : object) {
    if (key != "include_usage" && key != "include_obfuscation")
      refuse("stream_options", "stream_options: unknown field: {}", printable(key));
  }
  api.include_usage = bool_field(object, "include_usage", false);
}

// The grammar of the answer, compiled. What cannot be guaranteed is the client's to change.
ConstraintHandle compiled(const ApiModel& model, const OutputShape& shape) {
  if (!shape) return nullptr;
  try {
    return model.compile(shape);
  } catch (const ApiError&) {
    throw;
  } catch (const Error& error) {
    refuse(shape.param, "{}: {}", shape.param, printable(error.what(), 300));
  }
}

// What is the same for each prompt of the body.
Request read_shared(const json::object& body, const ApiModel& model, std::vector<AdapterUse> adapters,
                    ApiRequest& api) {
  Request request;
  request.adapters = std::move(adapters);
  request.sampling = read_sampling(body, api.endpoint, model);
  request.samples = static_cast<int>(integer_field(body, "n").value_or(1));
  request.min_tokens = static_cast<int>(integer_field(body, "min_tokens").value_or(0));
  request.stop_ids = read_stop_ids(body, model);
  api.stop = read_stop(body);
  api.echo = bool_field(body, "echo", false);
  api.logprobs = request.sampling.top_logprobs >= 0;
  request.prompt_logprobs = api.echo && api.logprobs;
  read_stream(body, api);
  api.tools = read_tools(body);
  request.constraint = compiled(model, read_output_shape(body));
  if (request.constraint != nullptr && bool_field(body, "ignore_eos", false))
    refuse("ignore_eos",
           "ignore_eos cannot be combined with a format of the answer, which says where it ends");
  return request;
}

std::optional<int64_t> read_max_tokens(const json::object& body) {
  const auto old = integer_field(body, "max_tokens"), now = integer_field(body, "max_completion_tokens");
  if (old && now && *old != *now)
    refuse("max_tokens", "max_tokens is {} and max_completion_tokens {}; give one", *old, *now);
  return now ? now : old;
}

// Sets max_tokens from what was asked and what of the context is left, and checks the whole.
void complete(Request& request, std::optional<int64_t> max_tokens, Endpoint endpoint,
              const RequestLimits& limits) {
  const bool chat = endpoint == Endpoint::kChat;
  const int64_t left = limits.context_length - static_cast<int64_t>(request.prompt.size());
  const int64_t least = request.prompt_logprobs ? 0 : 1;
  if (max_tokens && *max_tokens < least)
    refuse("max_tokens", "max_tokens is 0; it must be at least 1 (0 needs echo and logprobs)");
  if (left < max_tokens.value_or(least)) {
    throw ApiError(400, "invalid_request_error",
                   fmt::format("the prompt has {} tokens and max_tokens is {}; together at most the context "
                               "length, {}",
                               request.prompt.size(), max_tokens.value_or(least), limits.context_length),
                   chat ? "messages" : "prompt", "context_length_exceeded");
  }
  const int64_t by_default = std::min<int64_t>(chat ? kDefaultChatTokens : kDefaultCompletionTokens, left);
  request.max_tokens = static_cast<int>(max_tokens.value_or(by_default));
  try {
    validate(request, limits);
  } catch (const Error& error) {
    refuse("", "{}", error.what());
  }
}

template <typename Encode>
std::vector<int32_t> encoded(Encode encode, std::string_view param) {
  try {
    return encode();
  } catch (const ApiError&) {
    throw;
  } catch (const Error& error) {
    refuse(param, "{}", printable(error.what(), 300));
  }
}

// "prompt": a text, token ids, or a list of either.
std::vector<ApiPrompt> read_prompts(const json::object& body, const ApiModel& model, const ApiRequest& api,
                                    const Request& shared) {
  std::vector<ApiPrompt> prompts;
  const auto add_text = [&](std::string_view text) {
    ApiPrompt& prompt = prompts.emplace_back(shared, std::string(api.echo ? text : ""));
    prompt.request.prompt = encoded([&] { return model.encode_text(text); }, "prompt");
  };
  const auto add_ids = [&](const json::array& ids) {
    ApiPrompt& prompt = prompts.emplace_back(shared, "");
    prompt.request.prompt = read_token_ids(ids, "prompt", model.limits.vocab);
    if (api.echo) prompt.echo = to_valid_utf8(model.tokenizer.decode(prompt.request.prompt, true));
  };
  const json::value* value = find_field(body, "prompt");
  if (value == nullptr) refuse("prompt", "prompt is missing");
  if (value->is_string()) {
    add_text(value->get_string());
    return prompts;
  }
  if (value->is_array() && !value->get_array().empty() && value->get_array()[0].is_number()) {
    add_ids(value->get_array());
    return prompts;
  }
  for (const json::value& element : read_array(*value, "prompt", 1, kMaxPrompts)) {
    if (element.is_string()) {
      add_text(element.get_string());
    } else if (element.is_array()) {
      add_ids(element.get_array());
    } else {
      refuse("prompt", "prompt must be a string, a list of token ids, or a list of either");
    }
  }
  return prompts;
}

// The prompt of a chat. Where a tool must be called, the prompt already begins the call, and the answer is
// held to the tools' parameters.
std::vector<int32_t> read_chat_prompt(const json::object& body, const ApiModel& model,
                                      const ChatTemplate* own, ApiRequest& api, Request& shared) {
  json::object variables = read_template_variables(body, api.tools);
  const auto render = [&](const json::object& v, bool add) { return model.render_chat(v, add, own); };
  if (api.tools.offered() || has_tool_messages(variables)) {
    std::vector<std::string> stop_texts;
    for (const int32_t id : model.tokenizer.stop_ids()) stop_texts.push_back(model.tokenizer.token_bytes(id));
    api.dialect = find_tool_dialect(render, stop_texts);
    prepare_tools(variables, api.dialect);
  }
  std::string text = render(variables, true);
  if (api.tools.choice == ToolRequest::Choice::kRequired) {
    if (shared.constraint != nullptr)
      refuse("tool_choice", "a tool that must be called and a format of the answer cannot be combined");
    shared.constraint = compiled(model, tool_call_shape(api.tools, api.dialect));
    text += api.dialect.before;
    api.prompt_calls = true;
  }
  return model.encode_rendered(text);
}

}  // namespace

const json::object& read_body(const json::value& body, Endpoint endpoint) {
  if (!body.is_object()) refuse("", "the body must be a JSON object");
  check_field_names(body.get_object(), endpoint);
  return body.get_object();
}

ApiRequest read_api_request(const json::object& body, Endpoint endpoint, const ApiModel& model,
                            AdapterRequest wanted, AdapterSelection adapters, uint64_t default_seed) {
  ApiRequest api;
  api.endpoint = endpoint;
  api.wanted = std::move(wanted);
  Request shared = read_shared(body, model, std::move(adapters.uses), api);
  if (endpoint == Endpoint::kChat) {
    shared.prompt = encoded(
        [&] { return read_chat_prompt(body, model, adapters.chat_template.get(), api, shared); }, "messages");
    api.prompts.push_back({std::move(shared), ""});
  } else {
    api.prompts = read_prompts(body, model, api, shared);
  }
  const std::optional<int64_t> seed = integer_field(body, "seed"), max_tokens = read_max_tokens(body);
  for (size_t i = 0; i < api.prompts.size(); ++i) {
    Request& request = api.prompts[i].request;
    request.sampling.seed = seed ? static_cast<uint64_t>(*seed) : default_seed + i;
    complete(request, max_tokens, endpoint, model.limits);
  }
  return api;
}

}  // namespace chorus
