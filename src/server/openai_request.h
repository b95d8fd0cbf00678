#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/request.h"
#include "engine/validate.h"
#include "formats/chat_template.h"
#include "formats/tokenizer.h"
#include "grammar/constraint.h"
#include "server/adapter_request.h"
#include "server/tool_calls.h"

namespace chorus {

// What requests are read against: a model as the API sees it. The functions throw Error, whose text reaches
// the client.
struct ApiModel {
  std::string name;  // of the base, for answers to requests that name no model
  const Tokenizer& tokenizer;
  RequestLimits limits;
  SelectionNames names;
  // The adapters that are asked for, all of which are in memory. ApiError: 404.
  std::function<AdapterSelection(const AdapterRequest& wanted)> acquire;
  // A conversation's text; the variables are the chat template's. `own`: an adapter's template; null: the
  // model's.
  std::function<std::string(json::object variables, bool add_generation_prompt, const ChatTemplate* own)>
      render_chat;
  // Token ids of such a text, and of plain text.
  std::function<std::vector<int32_t>(std::string_view text)> encode_rendered, encode_text;
  std::function<ConstraintHandle(const OutputShape& shape)> compile;
};

struct ApiPrompt {
  Request request;
  std::string echo;  // what `echo` puts before the answer
};

// A request body, read and validated: every prompt can be submitted as it is.
struct ApiRequest {
  Endpoint endpoint = Endpoint::kChat;
  AdapterRequest wanted;
  bool stream = false;
  bool include_usage = false;  // a last event with the usage, when streaming
  bool echo = false;
  bool logprobs = false;
  std::vector<std::string> stop;
  ToolRequest tools;
  ToolDialect dialect;             // with tools
  bool prompt_calls = false;       // the prompt ends within a call, which the answer completes
  std::vector<ApiPrompt> prompts;  // of a chat always one
};

constexpr int kDefaultChatTokens = 1024;  // or what of the context is left
constexpr int kDefaultCompletionTokens = 16;

// Reads the body of POST /v1/chat/completions or /v1/completions. `adapters` are those that are `wanted`,
// which was read from the same body. `default_seed` is used where the body has no seed; then each prompt of a
// list draws from its own (default_seed + index), so that equal prompts get different answers. Throws
// ApiError.
ApiRequest read_api_request(const json::object& body, Endpoint endpoint, const ApiModel& model,
                            AdapterRequest wanted, AdapterSelection adapters, uint64_t default_seed);

// ApiError for a body that is no JSON object or has a field that is not known here; to be called first.
const json::object& read_body(const json::value& body, Endpoint endpoint);

}  // namespace chorus
