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

// "stop" or "length"; null while it runs.
json::value finish_reason_name(FinishReason reason);

// {"content": [...]} of a chat.
json::object chat_logprobs(std::span<const LoggedToken> tokens, int top, const Tokenizer& tokenizer);
// {"tokens", "token_logprobs", "top_logprobs", "text_offset"} of a completion.
json::object completion_logprobs(std::span<const LoggedToken> tokens, const Tokenizer& tokenizer);

}  // namespace chorus
