#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "formats/regex.h"
#include "formats/unicode.h"

namespace chorus {

// What a Replace or a Split looks for: a regular expression or a literal (not empty).
using TextPattern = std::variant<Regex, std::string>;

// The steps of `tokenizers`' normalizers, each on the text that the one before it gave.
struct LowercaseStep {};
struct PrependStep {
  std::string text;  // put before a text that is not empty
};
struct ReplaceStep {
  TextPattern pattern;
  std::string content;
};
struct StripStep {
  bool left;
  bool right;
};
using NormalizerStep = std::variant<NormalForm, LowercaseStep, PrependStep, ReplaceStep, StripStep>;

struct Normalizer {
  std::vector<NormalizerStep> steps;
};

// The normal form of valid UTF-8. Error: a Regex over its bounds, or replacements that make
// the text many times longer.
std::string normalize(const Normalizer& normalizer, std::string text);

// The non-overlapping matches of the pattern, from left to right, with the empty ones, but none that touches
// the match before it (the rule of Rust's regex crate, which `tokenizers` keeps for Oniguruma).
std::vector<Span> find_all(const TextPattern& pattern, std::string_view text);

}  // namespace chorus
