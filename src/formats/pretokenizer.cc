#include "formats/pretokenizer.h"

namespace chorus {
namespace {

struct Part {
  Span span;
  bool match;
};

// The whole of `text` as matches and what lies between them.
std::vector<Part> find_parts(const SplitStep& step, std::string_view text) {
  std::vector<Part> parts;
  size_t done = 0;
  for (const Span& match : find_all(step.pattern, text)) {
    if (done != match.begin) parts.push_back({{done, match.begin}, step.invert});
    parts.push_back({match, !step.invert});
    done = match.end;
  }
  if (done != text.size()) parts.push_back({{done, text.size()}, step.invert});
  return parts;
}

// Whether `next` belongs to the same piece as `previous`, which precedes it.
bool joins(SplitBehavior behavior, const Part& previous, const Part& next) {
  switch (behavior) {
    case SplitBehavior::kMergedWithPrevious:
      return next.match && !previous.match;
    case SplitBehavior::kMergedWithNext:
      return previous.match && !next.match;
    case SplitBehavior::kContiguous:
      return previous.match == next.match;
    case SplitBehavior::kRemoved:
    case SplitBehavior::kIsolated:
      return false;
  }
  return false;
}

void split_piece(const SplitStep& step, std::string_view text, size_t offset, std::vector<Span>& out) {
  const size_t first = out.size();
  const Part* previous = nullptr;
  const std::vector<Part> parts = find_parts(step, text);
  for (const Part& part : parts) {
    if (step.behavior == SplitBehavior::kRemoved && part.match) continue;
    const Span span{offset + part.span.begin, offset + part.span.end};
    if (previous != nullptr && out.size() > first && joins(step.behavior, *previous, part)) {
      out.back().end = span.end;
    } else {
      out.push_back(span);
    }
    previous = &part;
  }
}

struct Apply {
  Pieces& pieces;

  void operator()(const SplitStep& step) const {
    std::vector<Span> out;
    out.reserve(pieces.spans.size());
    for (const Span& span : pieces.spans) {
      split_piece(step, std::string_view(pieces.text).substr(span.begin, span.end - span.begin), span.begin,
                  out);
    }
    std::erase_if(out, [](const Span& span) { return span.begin == span.end; });
    pieces.spans = std::move(out);
  }

  void operator()(const PrefixSpaceStep&) const {
    rewrite([](std::string_view piece, bool, std::string& out) {
      if (!piece.starts_with(' ')) out += ' ';
      out += piece;
    });
  }

  void operator()(const MetaspaceStep& step) const {
    rewrite([&step](std::string_view piece, bool first, std::string& out) {
      const bool prepend =
          step.prepend == PrependScheme::kAlways || (step.prepend == PrependScheme::kFirst && first);
      if (prepend && !piece.starts_with(' ') && !piece.starts_with(step.replacement)) out += step.replacement;
      for (const char c : piece) c == ' ' ? out += step.replacement : out += c;
    });
    if (step.split) (*this)(SplitStep{step.replacement, SplitBehavior::kMergedWithNext, false});
  }

  // Builds the text anew, piece by piece.
  template <typename F>
  void rewrite(const F& append) const {
    std::string text;
    text.reserve(pieces.text.size() + pieces.spans.size());
    for (Span& span : pieces.spans) {
      const size_t begin = text.size();
      const bool first = pieces.at_start && span.begin == 0;
      append(std::string_view(pieces.text).substr(span.begin, span.end - span.begin), first, text);
      span = {begin, text.size()};
    }
    pieces.text = std::move(text);
  }
};

}  // namespace

void pre_tokenize(const PreTokenizer& pre_tokenizer, Pieces& pieces) {
  pieces.spans.clear();
  if (!pieces.text.empty()) pieces.spans.push_back({0, pieces.text.size()});
  for (const PreTokenizerStep& step : pre_tokenizer.steps) std::visit(Apply{pieces}, step);
}

}  // namespace chorus
