#include <algorithm>
#include <optional>

#include "base/error.h"
#include "formats/chat_text.h"
#include "formats/tool_dialect.h"
#include "train/data_file.h"
#include "train/token_spans.h"

namespace chorus {
namespace {

// Rendering a conversation up to each answer, and encoding up to it, takes time by this product.
constexpr size_t kMaxTurnBytes = size_t{256} << 20;

// A template that renders an earlier answer otherwise than the last one.
class RewritesTurns : public Error {
  using Error::Error;
};

bool is_answer(const json::value& turn) { return turn.at("role") == "assistant"; }

bool is_learned(const json::value& turn) {
  const json::value* weight = turn.get_object().if_contains("weight");
  return is_answer(turn) && (weight == nullptr || weight->is_null() || *weight != 0);
}

// Makes sequences of examples, with what they share found once.
class ExampleTokenizer {
 public:
  ExampleTokenizer(const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                   const TokenizeOptions& options)
      : tokenizer_(tokenizer), template_(chat_template), options_(options) {}

  // The one sequence, uncut.
  TokenizedExample whole(const Example& example) {
    TokenizedExample out;
    if (example.messages.empty()) {
      out = text(example.text);
    } else if (example.templated) {
      out = chat(conversation(example), options_.train_on);
    } else {
      out = completion(example);
    }
    if (options_.train_on == TrainOn::kAll) std::ranges::fill(out.label, uint8_t{1});
    return out;
  }

  // A sequence for each answer that is learned, with all before it as it is when that is asked for.
  std::vector<TokenizedExample> each_answer(const Example& example) {
    json::object variables = conversation(example);
    const json::array turns = variables.at("messages").get_array();
    std::vector<TokenizedExample> out;
    for (size_t i = 1; i < turns.size(); ++i) {
      if (!is_learned(turns[i])) continue;
      variables["messages"] = json::array(turns.begin(), turns.begin() + static_cast<ptrdiff_t>(i) + 1);
      out.push_back(chat(variables, TrainOn::kLast));
    }
    return out;
  }

  // A text in sequences of at most max_tokens, each with BOS where the model's settings add it.
  std::vector<TokenizedExample> windows(const Example& example) {
    const TokenizedExample all = whole(example);
    const size_t most = static_cast<size_t>(options_.max_tokens);
    const bool repeat = tokenizer_.adds_bos() && !all.tokens.empty() && all.tokens[0] == tokenizer_.bos();
    std::vector<TokenizedExample> out;
    for (size_t begin = 0; begin < all.tokens.size();) {
      TokenizedExample window;
      if (begin > 0 && repeat) window.tokens.push_back(*tokenizer_.bos());
      const size_t take = std::min(most - window.tokens.size(), all.tokens.size() - begin);
      const auto first = all.tokens.begin() + static_cast<ptrdiff_t>(begin);
      window.tokens.insert(window.tokens.end(), first, first + static_cast<ptrdiff_t>(take));
      window.label.assign(window.tokens.size(), 1);
      begin += take;
      if (window.tokens.size() > 1) out.push_back(std::move(window));
    }
    return out;
  }

  // Cuts at max_tokens and counts.
  void finish(TokenizedExample& out, const Example& example) const {
    const size_t most = static_cast<size_t>(options_.max_tokens);
    out.truncated = out.tokens.size() > most;
    out.tokens.resize(std::min(out.tokens.size(), most));
    out.label.resize(out.tokens.size());
    if (!out.label.empty()) out.label[0] = 0;
    out.labels = static_cast<int>(std::ranges::count(out.label, uint8_t{1}));
    out.file = example.file;
    out.line = example.line;
  }

 private:
  // A plain text is learned with its end.
  TokenizedExample text(const std::string& text) const {
    const std::string bos = tokenizer_.bos() ? tokenizer_.token_bytes(*tokenizer_.bos()) : std::string();
    const bool has_bos = !bos.empty() && text.starts_with(bos);  // rendered by somebody's template
    TokenizedExample out;
    out.tokens = tokenizer_.encode(text, {.add_special = !has_bos, .parse_special = true});
    add_end(out.tokens);
    out.label.assign(out.tokens.size(), 1);
    return out;
  }

  TokenizedExample completion(const Example& example) const {
    const json::string& prompt = example.messages[0].at("content").get_string();
    const json::string& answer = example.messages[1].at("content").get_string();
    std::vector<int32_t> learned = encode_continuation(tokenizer_, {answer.data(), answer.size()});
    add_end(learned);
    const EncodeOptions special{.add_special = true, .parse_special = true};
    return joined(tokenizer_.encode({prompt.data(), prompt.size()}, special), learned, true);
  }

  void add_end(std::vector<int32_t>& tokens) const {
    const bool ended = !tokens.empty() &&
                       std::ranges::find(tokenizer_.stop_ids(), tokens.back()) != tokenizer_.stop_ids().end();
    if (tokenizer_.eos() && !ended) tokens.push_back(*tokenizer_.eos());
  }

  static TokenizedExample joined(std::vector<int32_t> prompt, const std::vector<int32_t>& answer,
                                 bool learned) {
    TokenizedExample out;
    out.tokens = std::move(prompt);
    out.label.assign(out.tokens.size(), 0);
    out.tokens.insert(out.tokens.end(), answer.begin(), answer.end());
    out.label.resize(out.tokens.size(), learned);
    return out;
  }

  std::string render(json::object variables, bool add_generation_prompt) const {
    return render_chat(*template_, tokenizer_, std::move(variables), add_generation_prompt);
  }
  // The first `count` turns.
  std::string render_turns(const json::object& variables, size_t count, bool add_generation_prompt) const {
    json::object some = variables;
    some.at("messages").get_array().resize(count);
    return render(std::move(some), add_generation_prompt);
  }

  // The template's variables, with calls of tools as they are served.
  json::object conversation(const Example& example) {
    if (template_ == nullptr)
      fail("the model has no chat template: tune it on \"prompt\" and \"completion\", or on \"text\"");
    json::object variables{{"messages", example.messages}};
    if (!example.tools.empty()) variables["tools"] = example.tools;
    const bool calls = std::ranges::any_of(example.messages, [](const json::value& turn) {
      return turn.get_object().contains("tool_calls") || turn.at("role") == "tool";
    });
    if (calls || !example.tools.empty()) prepare_tools(variables, dialect());
    return variables;
  }

  const ToolDialect& dialect() {
    if (dialect_) return *dialect_;
    std::vector<std::string> stops;
    for (const int32_t id : tokenizer_.stop_ids()) stops.push_back(tokenizer_.token_bytes(id));
    dialect_ = find_tool_dialect([&](const json::object& v, bool add) { return render(v, add); }, stops);
    return *dialect_;
  }

  TokenizedExample chat(const json::object& variables, TrainOn train_on) const {
    const json::array& turns = variables.at("messages").get_array();
    const std::string all = render(variables, false);
    const std::string prompt = render_turns(variables, turns.size() - 1, true);
    if (!all.starts_with(prompt)) {
      fail(
          "the chat template begins an answer otherwise than it continues it, so that none can be learned "
          "as it is served; tune on \"prompt\" and \"completion\" texts");
    }
    std::vector<int32_t> tokens = encode_rendered(tokenizer_, prompt);
    std::vector<uint8_t> earlier(tokens.size(), 0);
    if (train_on == TrainOn::kAssistant) label_earlier_answers(variables, prompt, tokens, earlier);
    std::vector<int32_t> answer =
        encode_continuation(tokenizer_, std::string_view(all).substr(prompt.size()));
    // Some templates let the next turn's beginning end an answer: the model would not learn to stop.
    if (std::ranges::find_first_of(answer, tokenizer_.stop_ids()) == answer.end()) add_end(answer);
    TokenizedExample out = joined(std::move(tokens), answer, is_learned(turns.back()));
    std::ranges::copy(earlier, out.label.begin());
    return out;
  }

  // Labels the answers within the prompt of the last one; `tokens` are the prompt's.
  void label_earlier_answers(const json::object& variables, const std::string& prompt,
                             std::span<const int32_t> tokens, std::vector<uint8_t>& label) const {
    const json::array& turns = variables.at("messages").get_array();
    std::vector<size_t> bounds;  // begin, end, begin, end, ...
    for (size_t i = 0; i + 1 < turns.size(); ++i) {
      if (!is_learned(turns[i])) continue;
      if ((bounds.size() + 2) * prompt.size() > kMaxTurnBytes)
        fail("{} turns of {} bytes are too long a conversation", turns.size(), prompt.size());
      const std::string before = render_turns(variables, i, true);
      const std::string after = render_turns(variables, i + 1, false);
      if (!prompt.starts_with(after) || !after.starts_with(before)) {
        throw RewritesTurns(fmt::format(
            "the chat template renders turn {} differently when more turns follow; --train-on last "
            "learns the last answer only",
            i + 1));
      }
      bounds.push_back(before.size());
      bounds.push_back(after.size());
    }
    const std::vector<size_t> at = tokens_before(tokenizer_, tokens, prompt, bounds);
    for (size_t i = 0; i < at.size(); i += 2)
      std::fill(label.begin() + static_cast<ptrdiff_t>(at[i]),
                label.begin() + static_cast<ptrdiff_t>(at[i + 1]), uint8_t{1});
  }

  const Tokenizer& tokenizer_;
  const ChatTemplate* template_;
  TokenizeOptions options_;
  std::optional<ToolDialect> dialect_;
};

}  // namespace

TokenizedExample tokenize_example(const Example& example, const Tokenizer& tokenizer,
                                  const ChatTemplate* chat_template, const TokenizeOptions& options,
                                  std::string_view what) {
  ExampleTokenizer maker(tokenizer, chat_template, options);
  try {
    TokenizedExample out = maker.whole(example);
    maker.finish(out, example);
    return out;
  } catch (const Error& error) {
    fail("{}: {}", what, error.what());
  }
}

TokenizedDataset tokenize_dataset(const Dataset& dataset, const Tokenizer& tokenizer,
                                  const ChatTemplate* chat_template, const TokenizeOptions& options) {
  ExampleTokenizer maker(tokenizer, chat_template, options);
  TokenizedDataset out;
  const auto sequences_of = [&](const Example& example) {
    if (example.messages.empty()) return maker.windows(example);
    try {
      return std::vector{maker.whole(example)};
    } catch (const RewritesTurns&) {
      ++out.split;
      return maker.each_answer(example);
    }
  };
  for (size_t i = 0; i < dataset.examples.size(); ++i) {
    const Example& example = dataset.examples[i];
    try {
      for (TokenizedExample& sequence : sequences_of(example)) {
        maker.finish(sequence, example);
        sequence.example = static_cast<int>(i);
        out.examples.push_back(std::move(sequence));
      }
    } catch (const Error& error) {
      ++out.problem_count;
      const std::string& file = dataset.files[static_cast<size_t>(example.file)];
      if (out.problems.size() < kMaxProblems)
        out.problems.push_back({fmt::format("{}:{}", printable(file, 300), example.line), error.what()});
    }
  }
  return out;
}

}  // namespace chorus
