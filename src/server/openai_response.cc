#include "server/openai_response.h"

#include <algorithm>
#include <utility>

#include "formats/unicode.h"

namespace chorus {
namespace {

double finite(float logprob) { return std::max(static_cast<double>(logprob), -9999.0); }

bool valid_utf8(std::string_view bytes) {
  while (!bytes.empty()) {
    const Utf8Char c = decode_utf8(bytes);
    if (!c.valid) return false;
    bytes.remove_prefix(c.length);
  }
  return true;
}

json::object chat_token(int32_t token, float logprob, const Tokenizer& tokenizer) {
  const std::string bytes = tokenizer.token_bytes(token);
  json::array numbers;
  for (const char byte : bytes) numbers.push_back(static_cast<uint8_t>(byte));
  return {{"token", to_valid_utf8(bytes)}, {"logprob", finite(logprob)}, {"bytes", std::move(numbers)}};
}

// As OpenAI names a token in a completion: its text, or "bytes:\xNN..." where it is a part of a character.
std::string completion_token(int32_t token, const Tokenizer& tokenizer) {
  const std::string bytes = tokenizer.token_bytes(token);
  if (valid_utf8(bytes)) return bytes;
  std::string name = "bytes:";
  for (const char byte : bytes) name += fmt::format("\\x{:02x}", static_cast<uint8_t>(byte));
  return name;
}

// Characters that begin in a token's part of the text.
int64_t characters(int32_t token, const Tokenizer& tokenizer) {
  if (tokenizer.is_special(token)) return 0;
  const std::string bytes = tokenizer.token_bytes(token);
  return std::ranges::count_if(bytes, [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; });
}

json::value logprobs_of(const ApiRequest& api, const Completion& completion, const CompletionSample& sample,
                        const Tokenizer& tokenizer) {
  if (!api.logprobs) return nullptr;
  if (api.endpoint == Endpoint::kChat)
    return chat_logprobs(sample.logged, completion.prompt().request.sampling.top_logprobs, tokenizer);
  std::vector<LoggedToken> tokens;
  if (api.echo) tokens = completion.prompt_tokens();
  tokens.insert(tokens.end(), sample.logged.begin(), sample.logged.end());
  int64_t offset = 0;
  return completion_logprobs(tokens, tokenizer, offset);
}

json::object message_of(const CompletionSample& sample, const ResponseId& id, size_t index) {
  json::object message{{"role", "assistant"}, {"content", sample.text}};
  if (sample.calls.empty()) return message;
  if (sample.text.empty()) message["content"] = nullptr;
  json::array calls;
  for (size_t i = 0; i < sample.calls.size(); ++i)
    calls.push_back(tool_call_object(sample.calls[i], id, index, i));
  message["tool_calls"] = std::move(calls);
  return message;
}

json::object choice(const ApiRequest& api, const Completion& completion, const CompletionSample& sample,
                    const ResponseId& id, size_t index, const Tokenizer& tokenizer) {
  json::object result{{"index", index}};
  if (api.endpoint == Endpoint::kChat) {
    result["message"] = message_of(sample, id, index);
  } else {
    result["text"] = completion.prompt().echo + sample.text;
  }
  result["logprobs"] = logprobs_of(api, completion, sample, tokenizer);
  result["finish_reason"] = finish_reason_name(sample);
  return result;
}

}  // namespace

json::value finish_reason_name(const CompletionSample& sample) {
  if (sample.finish == FinishReason::kNone) return nullptr;
  if (!sample.calls.empty()) return "tool_calls";
  return sample.finish == FinishReason::kLength ? "length" : "stop";
}

json::object tool_call_object(const ToolCall& call, const ResponseId& id, size_t choice, size_t index) {
  return {{"id", fmt::format("call_{}_{}_{}", id.id, choice, index)},
          {"type", "function"},
          {"function", {{"name", call.name}, {"arguments", call.arguments}}}};
}

json::object chat_logprobs(std::span<const LoggedToken> tokens, int top, const Tokenizer& tokenizer) {
  json::array content;
  for (const LoggedToken& logged : tokens) {
    json::object entry = chat_token(logged.token, logged.logprob.value_or(0), tokenizer);
    json::array alternatives;
    for (size_t i = 0; i < std::min(logged.top.size(), static_cast<size_t>(std::max(top, 0))); ++i)
      alternatives.push_back(chat_token(logged.top[i].token, logged.top[i].logprob, tokenizer));
    entry["top_logprobs"] = std::move(alternatives);
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}};
}

json::object completion_logprobs(std::span<const LoggedToken> tokens, const Tokenizer& tokenizer,
                                 int64_t& offset) {
  json::array names, logprobs, tops, offsets;
  for (const LoggedToken& logged : tokens) {
    names.push_back(json::value(completion_token(logged.token, tokenizer)));
    offsets.push_back(offset);
    offset += characters(logged.token, tokenizer);
    if (!logged.logprob) {
      logprobs.push_back(nullptr);
      tops.push_back(nullptr);
      continue;
    }
    logprobs.push_back(finite(*logged.logprob));
    // The likeliest, and the token itself where it is none of them. Of two with one text, the likelier.
    json::object top;
    for (const TokenLogprob& t : logged.top)
      top.emplace(completion_token(t.token, tokenizer), finite(t.logprob));
    top.emplace(completion_token(logged.token, tokenizer), finite(*logged.logprob));
    tops.push_back(std::move(top));
  }
  return {{"tokens", std::move(names)},
          {"token_logprobs", std::move(logprobs)},
          {"top_logprobs", std::move(tops)},
          {"text_offset", std::move(offsets)}};
}

json::object usage_object(std::span<const Completion> completions) {
  int64_t prompt_tokens = 0, completion_tokens = 0, cached_tokens = 0;
  for (const Completion& completion : completions) {
    prompt_tokens += static_cast<int64_t>(completion.prompt().request.prompt.size());
    completion_tokens += completion.sampled_tokens();
    cached_tokens += completion.samples()[0].cached_tokens;
  }
  return {{"prompt_tokens", prompt_tokens},
          {"completion_tokens", completion_tokens},
          {"total_tokens", prompt_tokens + completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", cached_tokens}}}};
}

json::object response_head(const ApiRequest& api, const ResponseId& id, bool chunk) {
  const bool chat = api.endpoint == Endpoint::kChat;
  return {{"id", (chat ? "chatcmpl-" : "cmpl-") + id.id},
          {"object", !chat   ? "text_completion"
                     : chunk ? "chat.completion.chunk"
                             : "chat.completion"},
          {"created", id.created},
          {"model", api.wanted.model}};
}

json::object response_body(const ApiRequest& api, std::span<const Completion> completions,
                           const ResponseId& id, const Tokenizer& tokenizer) {
  json::array choices;
  for (const Completion& completion : completions) {
    for (const CompletionSample& sample : completion.samples())
      choices.push_back(choice(api, completion, sample, id, choices.size(), tokenizer));
  }
  json::object body = response_head(api, id, false);
  body["choices"] = std::move(choices);
  body["usage"] = usage_object(completions);
  return body;
}

}  // namespace chorus
