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

// The elf has a chat template.
inline AdapterSelection select_test_mix(std::string_view mix) {
  static const AdapterHandle kElf = fake_adapter("elf"), kVillain = fake_adapter("villain");
  if (mix.empty() || mix == "base") return {};
  AdapterSelection selection;
  for (const MixPart& part : parse_mix(mix)) {
    if (part.name != "elf" && part.name != "villain") fail("no adapter \"{}\"", part.name);
    selection.uses.push_back({part.name == "elf" ? kElf : kVillain, part.scale});
  }
  if (mix == "elf") selection.chat_template = std::make_shared<const ChatTemplate>("elf");
  return selection;
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
  return {"base",
          test_tokenizer(),
          limits,
          [=](json::object variables, const ChatTemplate* own) {
            const std::string text = own != nullptr ? own->source() : json::serialize(variables);
            if (text.find("raise") != std::string::npos) fail("the template: line 1: no");
            return encode(text);
          },
          encode,
          select_test_mix};
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
  return read_api_request(chat_body(more), Endpoint::kChat, test_model(), 7);
}

inline ApiRequest read_completion(const json::object& more = {}) {
  return read_api_request(completion_body(more), Endpoint::kCompletions, test_model(), 7);
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
