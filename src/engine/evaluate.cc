#include "engine/evaluate.h"

#include <cmath>
#include <unordered_map>

#include "base/error.h"
#include "formats/chat_text.h"

namespace chorus {
namespace {

// Removes and returns the first line of `text`, without its end.
std::string_view take_line(std::string_view& text) {
  const size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

json::array messages_of(std::string_view line, const std::string& what) {
  json::value value = parse_json(line, what);
  json::value* messages = value.is_object() ? value.get_object().if_contains("messages") : nullptr;
  if (messages == nullptr || !messages->is_array() || messages->get_array().size() < 2) {
    fail("{}: must be an object with \"messages\", a list of two turns or more", what);
  }
  for (const json::value& turn : messages->get_array()) {
    if (!turn.is_object() || !turn.get_object().contains("role") || !turn.get_object().contains("content")) {
      fail("{}: every turn needs \"role\" and \"content\"", what);
    }
  }
  if (messages->get_array().back().get_object().at("role") != "assistant") {
    fail("{}: the last turn must be the assistant's", what);
  }
  return messages->get_array();
}

ScoredText scored_chat(const Runtime& runtime, json::array messages, const ChatTemplate* own,
                       const std::string& what) {
  const std::string whole = runtime.render_chat({{"messages", messages}}, false, own);
  messages.pop_back();
  const std::string prompt = runtime.render_chat({{"messages", messages}}, true, own);
  if (!whole.starts_with(prompt))
    fail("{}: the chat template does not begin the answer as it continues it", what);
  ScoredText text{runtime.encode_rendered(prompt), 0};
  text.scored_from = static_cast<int>(text.tokens.size());
  const std::vector<int32_t> answer =
      encode_continuation(runtime.tokenizer(), std::string_view(whole).substr(prompt.size()));
  text.tokens.insert(text.tokens.end(), answer.begin(), answer.end());
  return text;
}

Request scoring_request(const ScoredText& text, const std::vector<AdapterUse>& adapters) {
  Request request;
  request.prompt = text.tokens;
  request.adapters = adapters;
  request.max_tokens = 0;
  request.prompt_logprobs = true;
  request.sampling.top_logprobs = 0;
  return request;
}

// The sum of one text's scores as its events come in: the n-th is of token n.
struct Progress {
  int scored_from = 1;
  int next = 1;
};

}  // namespace

double Score::perplexity() const { return std::exp(nll); }

ScoredText scored_text(const Runtime& runtime, std::string_view text) {
  return {runtime.encode_text(text), 1};
}

std::vector<ScoredText> scored_chats(const Runtime& runtime, std::string_view jsonl, std::string_view mix,
                                     std::string_view what) {
  const std::shared_ptr<const ChatTemplate> own = runtime.adapters().select(mix).chat_template;
  std::vector<ScoredText> texts;
  for (int number = 1; !jsonl.empty(); ++number) {
    const std::string_view line = take_line(jsonl);
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = fmt::format("{}:{}", what, number);
    texts.push_back(scored_chat(runtime, messages_of(line, where), own.get(), where));
  }
  if (texts.empty()) fail("{}: no examples", what);
  return texts;
}

Score evaluate(Runtime& runtime, const std::vector<ScoredText>& texts, std::string_view mix,
               const std::function<void(size_t done)>& progress) {
  const std::vector<AdapterUse> adapters = runtime.adapters().resolve(mix);
  Engine& engine = runtime.engine();
  std::unordered_map<uint64_t, Progress> running;
  Score score;
  double total = 0;
  size_t submitted = 0, done = 0;
  std::string error;
  const auto sink = [&](const TokenEvent& event) {
    Progress& text = running.at(event.request);
    if (event.token >= 0) {
      if (text.next++ >= text.scored_from) {
        total -= event.logprob;
        ++score.tokens;
      }
    }
    if (event.finish == FinishReason::kNone) return;
    if (event.finish == FinishReason::kError && error.empty()) error = event.error;
    running.erase(event.request);
    ++done;
  };
  while (done < texts.size()) {
    while (submitted < texts.size() && running.size() < static_cast<size_t>(engine.config().max_sequences)) {
      const ScoredText& text = texts[submitted++];
      if (text.tokens.size() < 2) fail("text {}: at least two tokens are needed", submitted);
      running.emplace(engine.submit(scoring_request(text, adapters)), Progress{text.scored_from, 1});
    }
    engine.step(sink);
    if (!error.empty()) fail("{}", error);
    progress(done);
  }
  score.nll = total / static_cast<double>(score.tokens);
  return score;
}

}  // namespace chorus
