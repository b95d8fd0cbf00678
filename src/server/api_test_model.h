#pragma once

// A small tokenizer, two adapters without weights, and a template that is no template: what the tests of the
// API read requests against.

#include <gtest/gtest.h>

#include "engine/adapter_registry.h"
#include "engine/fake_model.h"
#include "formats/tokenizer_golden.h"
#include "server/openai_request.h"

namespace chorus {

inline const Tokenizer& test_tokenizer() {
  static const Tokenizer tokenizer = load_golden("smollm");
  return tokenizer;
}

// The adapters of a mix; ApiError for one that is neither the elf nor the villain.
inline AdapterSelection acquire_test_adapters(const AdapterRequest& wanted) {
  static const AdapterHandle kElf = fake_adapter("elf"), kVillain = fake_adapter("villain");
  AdapterSelection acquired;
  for (const MixPart& part : wanted.parts) {
    if (part.name != "elf" && part.name != "villain") refuse_model(part.name, "model");
    acquired.uses.push_back({part.name == "elf" ? kElf : kVillain, part.scale});
  }
  return acquired;
}

constexpr int kTestContext = 2048;

// A conversation is its variables as JSON; "raise" in it is refused, as a template may.
inline ApiModel test_model() {
  RequestLimits limits;
  limits.vocab = test_tokenizer().vocab_size();
  limits.context_length = kTestContext;
  limits.pages = 512;
  limits.max_lora_floats_per_row = 256;
  const auto encode = [](std::string_view text) { return test_tokenizer().encode(text, {}); };
  const auto render = [](const json::object& variables, bool, const ChatTemplate*) {
    const std::string text = json::serialize(variables);
    if (text.find("raise") != std::string::npos) fail("the template: line 1: no");
    return text;
  };
  return {.name = "base",
          .tokenizer = test_tokenizer(),
          .limits = limits,
          .names = {.base_names = {"base"},
                    .name_of_id = [](int64_t) { return std::optional<std::string>("elf"); },
                    .base_default = {}},
          .acquire = acquire_test_adapters,
          .render_chat = render,
          .encode_rendered = encode,
          .encode_text = encode,
          .compile = [](const OutputShape&) { return ConstraintHandle(); }};
}

inline ApiRequest read_request(const json::value& body, Endpoint endpoint,
                               const ApiModel& model = test_model()) {
  const json::object& object = read_body(body, endpoint);
  AdapterRequest wanted = read_adapter_request(object, model.names);
  AdapterSelection acquired = model.acquire(wanted);
  return read_api_request(object, endpoint, model, std::move(wanted), std::move(acquired), 7);
}

// The body of a valid request, with members added or replaced.
inline json::object chat_body(const json::object& more = {}) {
  json::object body{{"model", "base"}, {"messages", {{{"role", "user"}, {"content", "Hello"}}}}};
  for (const auto& [key, value] : more) body[key] = value;
  return body;
}

inline json::object completion_body(const json::object& more = {}) {
  json::object body{{"model", "base"}, {"prompt", "Hello"}};
  for (const auto& [key, value] : more) body[key] = value;
  return body;
}

inline ApiRequest read_chat(const json::object& more = {}) {
  return read_request(chat_body(more), Endpoint::kChat);
}

inline ApiRequest read_completion(const json::object& more = {}) {
  return read_request(completion_body(more), Endpoint::kCompletions);
}

// The ApiError that `action` throws.
template <typename Action>
ApiError api_error_of(Action action) {
  try {
    action();
  } catch (const ApiError& error) {
    return error;
  }
  ADD_FAILURE() << "no ApiError";
  return {0, "", ""};
}

}  // namespace chorus
