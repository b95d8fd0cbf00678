#include "server/stream_events.h"

#include <utility>

namespace chorus {

void append_event(const json::value& data, std::string& out) {
  out += "data: ";
  out += json::serialize(data);
  out += "\n\n";
}

StreamEvents::StreamEvents(const ApiRequest& api, ResponseId id, const Tokenizer& tokenizer)
    : api_(api), id_(std::move(id)), tokenizer_(tokenizer) {
  size_t samples = 0;
  for (const ApiPrompt& prompt : api.prompts) samples += static_cast<size_t>(prompt.request.samples);
  choices_.resize(samples);
}

void StreamEvents::emit(json::object choice, std::string& out) const {
  json::object event = response_head(api_, id_, true);
  event["choices"] = json::array{std::move(choice)};
  if (api_.include_usage) event["usage"] = nullptr;
  append_event(event, out);
}

json::object StreamEvents::piece_of(size_t index, std::string_view text, json::value logprobs) const {
  json::object choice{{"index", index}};
  if (api_.endpoint == Endpoint::kChat) {
    choice["delta"] = {{"content", text}};
  } else {
    choice["text"] = text;
  }
  choice["logprobs"] = std::move(logprobs);
  choice["finish_reason"] = nullptr;
  return choice;
}

json::value StreamEvents::new_logprobs(const Completion& completion, const CompletionSample& sample,
                                       Choice& choice) const {
  if (!api_.logprobs) return nullptr;
  std::vector<LoggedToken> tokens;
  const std::vector<LoggedToken>& prompt = completion.prompt_tokens();
  const size_t echoed = api_.echo ? prompt.size() : 0;
  for (; choice.logged < echoed + sample.logged.size(); ++choice.logged) {
    tokens.push_back(choice.logged < echoed ? prompt[choice.logged] : sample.logged[choice.logged - echoed]);
  }
  if (tokens.empty()) return nullptr;
  if (api_.endpoint == Endpoint::kChat)
    return chat_logprobs(tokens, completion.prompt().request.sampling.top_logprobs, tokenizer_);
  return completion_logprobs(tokens, tokenizer_, choice.offset);
}

void StreamEvents::push(const Completion& completion, size_t prompt, int sample_index, std::string_view piece,
                        std::string& out) {
  const CompletionSample& sample = completion.samples()[static_cast<size_t>(sample_index)];
  const size_t index =
      prompt * static_cast<size_t>(completion.prompt().request.samples) + static_cast<size_t>(sample_index);
  Choice& choice = choices_[index];
  const bool chat = api_.endpoint == Endpoint::kChat;
  const bool ends = sample.finish != FinishReason::kNone;
  if (choice.ended) return;
  std::string text(piece);
  if (!choice.begun) {
    // The prompt's own log-probabilities come before anything is sampled: they are sent with the first piece.
    if (sample.tokens == 0 && !ends) return;
    choice.begun = true;
    if (chat) {
      emit({{"index", index},
            {"delta", {{"role", "assistant"}, {"content", ""}}},
            {"logprobs", nullptr},
            {"finish_reason", nullptr}},
           out);
    } else {
      text = completion.prompt().echo + text;
    }
  }
  if (!text.empty()) {
    json::value logprobs = new_logprobs(completion, sample, choice);
    emit(piece_of(index, text, std::move(logprobs)), out);
  }
  for (size_t i = 0; ends && i < sample.calls.size(); ++i) {
    json::object call = tool_call_object(sample.calls[i], id_, index, i);
    call["index"] = i;
    emit({{"index", index},
          {"delta", {{"tool_calls", {std::move(call)}}}},
          {"logprobs", nullptr},
          {"finish_reason", nullptr}},
         out);
  }
  if (!ends) return;
  choice.ended = true;
  json::object last{{"index", index}};
  if (chat) {
    last["delta"] = json::object();
  } else {
    last["text"] = "";
  }
  last["logprobs"] = new_logprobs(completion, sample, choice);
  last["finish_reason"] = finish_reason_name(sample);
  emit(std::move(last), out);
}

void StreamEvents::finish(std::span<const Completion> completions, std::string& out) const {
  if (api_.include_usage) {
    json::object event = response_head(api_, id_, true);
    event["choices"] = json::array();
    event["usage"] = usage_object(completions);
    append_event(event, out);
  }
  out += "data: [DONE]\n\n";
}

void StreamEvents::fail(const ApiError& error, std::string& out) {
  append_event(json::object{{"error", error_object(error)}}, out);
}

}  // namespace chorus
