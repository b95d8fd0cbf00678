#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/adapter_registry.h"
#include "engine/request.h"
#include "engine/validate.h"
#include "formats/tokenizer.h"
#include "server/openai_fields.h"

namespace chorus {

// What requests are read against: a model as the API sees it. The functions throw Error, whose text reaches
// the client.
struct ApiModel {
  std::string name;  // of the base, for answers to requests that name no model
  const Tokenizer& tokenizer;
  RequestLimits limits;
  // Token ids of a conversation, ready for the answer; the variables are the chat template's, which is an
  // adapter's own, or where that is null the model's.
  std::function<std::vector<int32_t>(json::object variables, const ChatTemplate* own)> encode_chat;
  std::function<std::vector<int32_t>(std::string_view text)> encode_text;
  std::function<AdapterSelection(std::string_view mix)> select;
};

struct ApiPrompt {
  Request request;
  std::string echo;  // what `echo` puts before the answer
};

// A request body, read and validated: every prompt can be submitted as it is.
struct ApiRequest {
  Endpoint endpoint = Endpoint::kChat;
  std::string model;  // as the client called it; without one, the base's name
  bool stream = false;
  bool include_usage = false;  // a last event with the usage, when streaming
  bool echo = false;
  bool logprobs = false;
  std::vector<std::string> stop;
  std::vector<ApiPrompt> prompts;  // of a chat always one
};

constexpr int kDefaultChatTokens = 1024;  // or what of the context is left
constexpr int kDefaultCompletionTokens = 16;

// Reads the body of POST /v1/chat/completions or /v1/completions. `default_seed` is used where the body has
// no seed; then each prompt of a list draws from its own (default_seed + index), so that equal prompts get
// different answers. Throws ApiError: 404 for a model that is not there, else 400.
ApiRequest read_api_request(const json::value& body, Endpoint endpoint, const ApiModel& model,
                            uint64_t default_seed);

}  // namespace chorus
