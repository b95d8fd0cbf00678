#pragma once

#include <span>
#include <string>
#include <string_view>

#include "server/completion.h"

namespace chorus {

struct ResponseId {
  std::string id;       // unique; "chatcmpl-" or "cmpl-" is put before it
  int64_t created = 0;  // seconds since 1970
};

// The body of a finished request: its completions, one for each prompt, all done() and without an error().
//
// Log-probabilities cover exactly the tokens that `usage` counts: with a stop id or a stop string that is one
// or more beyond the text. Those of -infinity are given as -9999, as JSON has no infinity. In a completion,
// text_offset counts characters of the text returned (with `echo`, from the prompt's beginning).
json::object response_body(const ApiRequest& api, std::span<const Completion> completions,
                           const ResponseId& id, const Tokenizer& tokenizer);

// "stop", "length" or "tool_calls"; null while it runs.
json::value finish_reason_name(const CompletionSample& sample);

// {"content": [...]} of a chat.
json::object chat_logprobs(std::span<const LoggedToken> tokens, int top, const Tokenizer& tokenizer);
// {"tokens", "token_logprobs", "top_logprobs", "text_offset"} of a completion.
// `offset` is where the first of them begins in the text, in characters, and then where the last ends.
json::object completion_logprobs(std::span<const LoggedToken> tokens, const Tokenizer& tokenizer,
                                 int64_t& offset);

// OpenAI's form of call `index` of a choice, with an id that is unique.
json::object tool_call_object(const ToolCall& call, const ResponseId& id, size_t choice, size_t index);

// {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"}
json::object usage_object(std::span<const Completion> completions);

// The members that every body and event of an answer begins with: "id", "object", "created", "model".
json::object response_head(const ApiRequest& api, const ResponseId& id, bool chunk);

}  // namespace chorus
