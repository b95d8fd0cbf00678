#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace chorus {

struct Span {
  size_t begin;
  size_t end;
};

// A regular expression of a tokenizer file, matched by PCRE2 with bounds on steps and memory. The files are
// written for Oniguruma: what the two read alike is compiled, \s \S \w are given Oniguruma's meaning, and the
// rest (\b, \h, nested classes, ...) is refused by name. Immutable and thread-safe.
class Regex {
 public:
  // Error: a syntax error or a construct outside the common subset. `what` names the pattern's place.
  Regex(std::string_view pattern, std::string_view what);
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

 private:
  friend class RegexMatcher;
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

// One thread's use of a Regex, which must outlive it.
class RegexMatcher {
 public:
  explicit RegexMatcher(const Regex& regex);
  ~RegexMatcher();
  RegexMatcher(const RegexMatcher&) = delete;
  RegexMatcher& operator=(const RegexMatcher&) = delete;

  // The leftmost match in `text` (valid UTF-8) that begins at `from` or later. Error: over the bounds.
  bool find(std::string_view text, size_t from, Span& match);

 private:
  struct State;
  const Regex::Impl* regex_;
  std::unique_ptr<State> state_;
};

}  // namespace chorus
