#include "formats/normalizer.h"

#include "base/error.h"
#include "base/utf8.h"

namespace chorus {
namespace {

std::vector<Span> find_regex(const Regex& regex, std::string_view text) {
  std::vector<Span> matches;
  RegexMatcher matcher(regex);
  size_t from = 0;
  Span match{};
  while (from <= text.size() && matcher.find(text, from, match)) {
    const bool empty = match.begin == match.end;
    if (!empty || matches.empty() || matches.back().end != match.begin) matches.push_back(match);
    from = match.end;
    if (empty) from += from < text.size() ? decode_utf8(text.substr(from)).length : 1;
  }
  return matches;
}

std::vector<Span> find_literal(const std::string& literal, std::string_view text) {
  std::vector<Span> matches;
  for (size_t at = text.find(literal); at != std::string_view::npos;
       at = text.find(literal, at + literal.size())) {
    matches.push_back({at, at + literal.size()});
  }
  return matches;
}

struct Apply {
  std::string text;
  size_t limit;

  std::string operator()(NormalForm form) { return normal_form(text, form); }
  std::string operator()(const LowercaseStep&) { return lowercase(text); }
  std::string operator()(const PrependStep& step) { return text.empty() ? text : step.text + text; }
  std::string operator()(const ReplaceStep& step) {
    std::string out;
    size_t done = 0;
    for (const Span& match : find_all(step.pattern, text)) {
      out.append(text, done, match.begin - done).append(step.content);
      done = match.end;
      if (out.size() > limit) fail("a normalizer makes a text more than {} bytes long", limit);
    }
    return out.append(text, done, text.size() - done);
  }
  std::string operator()(const StripStep& step) {
    if (step.left) text.erase(0, white_space_prefix(text));
    if (step.right) text.resize(text.size() - white_space_suffix(text));
    return std::move(text);
  }
};

}  // namespace

std::vector<Span> find_all(const TextPattern& pattern, std::string_view text) {
  if (const auto* literal = std::get_if<std::string>(&pattern)) return find_literal(*literal, text);
  return find_regex(std::get<Regex>(pattern), text);
}

std::string normalize(const Normalizer& normalizer, std::string text) {
  // A few Replace steps in a file could otherwise make gigabytes of a short text.
  const size_t limit = 64 * text.size() + 65536;
  for (const NormalizerStep& step : normalizer.steps) text = std::visit(Apply{std::move(text), limit}, step);
  return text;
}

}  // namespace chorus
