#include "formats/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <new>

#include "base/error.h"

namespace chorus {
namespace {

constexpr size_t kMaxPatternBytes = 1 << 16;
constexpr uint32_t kMatchLimit = 50'000'000;  // steps of one match
constexpr uint32_t kHeapLimitKib = 64 << 10;

// White_Space without PCRE2's U+180E.
constexpr std::string_view kSpace =
    "\\x{09}-\\x{0D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{"
    "3000}";
// Letters, marks, digits, connectors and the circled letters of Other_Alphabetic.
constexpr std::string_view kWord =
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{1F170}"
    "-\\x{"
    "1F189}";

// Rewrites an Oniguruma pattern for PCRE2.
class Translator {
 public:
  Translator(std::string_view pattern, std::string_view what) : pattern_(pattern), what_(what) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape();
      } else if (in_class_) {
        class_char(c);
      } else {
        plain_char(c);
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view construct) const {
    fail("{}: {} in a regular expression is not supported: {}", what_, construct, printable(pattern_, 200));
  }

  void escape() {
    if (at_ + 1 == pattern_.size()) refuse("a backslash at the end");
    const char c = pattern_[at_ + 1];
    if (std::string_view("bBhHKGRXNCgkyYOZEQzuM").find(c) != std::string_view::npos) {
      refuse(std::string("\\") + c);
    }
    at_ += 2;
    if (c == 's') {
      add_set(kSpace, false);
    } else if (c == 'S') {
      if (in_class_) {
        out_ += "\\S";  // differs at U+180E only, and a class cannot hold the complement of a set
      } else {
        add_set(kSpace, true);
      }
    } else if (c == 'w') {
      add_set(kWord, false);
    } else if (c == 'W') {
      if (in_class_) refuse("\\W within a class");
      add_set(kWord, true);
    } else {
      out_ += '\\';
      out_ += c;
      if ((c == 'p' || c == 'P' || c == 'x') && at_ < pattern_.size() && pattern_[at_] == '{') braces();
    }
  }

  void braces() {
    const size_t close = pattern_.find('}', at_);
    if (close == std::string_view::npos) refuse("'{' without '}'");
    while (at_ <= close) copy();
  }

  void add_set(std::string_view set, bool negated) {
    if (!in_class_) out_ += negated ? "[^" : "[";
    out_ += set;
    if (!in_class_) out_ += ']';
  }

  void class_char(char c) {
    const bool first = at_ == class_begin_;
    if (c == '[') refuse("'[' within a class");
    if (c == '&' && pattern_.substr(at_).starts_with("&&")) refuse("&& within a class");
    if (c == ']' && first) refuse("an empty class");
    if (c == ']') in_class_ = false;
    copy();
  }

  void plain_char(char c) {
    if (pattern_.substr(at_).starts_with("(*")) refuse("(*");
    if (pattern_.substr(at_).starts_with("(?")) check_group(pattern_.substr(at_ + 2));
    if (c == '{') {
      interval();
      return;
    }
    copy();
    if (c != '[') return;
    in_class_ = true;
    if (at_ < pattern_.size() && pattern_[at_] == '^') copy();
    class_begin_ = at_;
  }

  // Flags other than i mean other things there (m is "dot matches newline").
  void check_group(std::string_view after) {
    if (after.empty()) refuse("\"(?\" at the end");
    const bool plain = std::string_view(":=!<>").find(after[0]) != std::string_view::npos;
    if (!plain && !after.starts_with("i:") && !after.starts_with("i)")) {
      refuse(fmt::format("(?{}", printable(after.substr(0, 1))));
    }
  }

  // "{2,3}+" repeats the repetition there and is possessive here.
  void interval() {
    braces();
    if (at_ < pattern_.size() && pattern_[at_] == '+') refuse("\"}+\"");
  }

  void copy() { out_ += pattern_[at_++]; }

  std::string_view pattern_;
  std::string_view what_;
  std::string out_;
  size_t at_ = 0;
  size_t class_begin_ = 0;
  bool in_class_ = false;
};

std::string error_text(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return std::string(reinterpret_cast<const char*>(buffer.data()));
}

struct FreeCompileContext {
  void operator()(pcre2_compile_context* p) const { pcre2_compile_context_free(p); }
};
struct FreeCode {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
};
struct FreeMatchContext {
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
};
struct FreeMatchData {
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
};

template <typename T>
T* not_null(T* pointer) {
  if (pointer == nullptr) throw std::bad_alloc();
  return pointer;
}

}  // namespace

struct Regex::Impl {
  std::string what;
  std::unique_ptr<pcre2_code, FreeCode> code;
  std::unique_ptr<pcre2_match_context, FreeMatchContext> context;  // read only while matching
};

struct RegexMatcher::State {
  std::unique_ptr<pcre2_match_data, FreeMatchData> data;
};

Regex::Regex(std::string_view pattern, std::string_view what) {
  if (pattern.size() > kMaxPatternBytes) {
    fail("{}: a regular expression of {} bytes; at most {}", what, pattern.size(), kMaxPatternBytes);
  }
  const std::string translated = Translator(pattern, what).run();
  const std::unique_ptr<pcre2_compile_context, FreeCompileContext> compile(
      not_null(pcre2_compile_context_create(nullptr)));
  pcre2_set_newline(compile.get(), PCRE2_NEWLINE_LF);
  int code = 0;
  size_t offset = 0;
  auto impl = std::make_unique<Impl>();
  impl->what = what;
  impl->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code,
                                 &offset, compile.get()));
  if (!impl->code) {
    fail("{}: bad regular expression ({}): {}", what, error_text(code), printable(pattern, 200));
  }
  pcre2_jit_compile(impl->code.get(), PCRE2_JIT_COMPLETE);  // where it cannot, the interpreter matches
  impl->context.reset(not_null(pcre2_match_context_create(nullptr)));
  pcre2_set_match_limit(impl->context.get(), kMatchLimit);
  pcre2_set_heap_limit(impl->context.get(), kHeapLimitKib);
  impl_ = std::move(impl);
}

Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

RegexMatcher::RegexMatcher(const Regex& regex)
    : regex_(regex.impl_.get()), state_(std::make_unique<State>()) {
  state_->data.reset(not_null(pcre2_match_data_create(1, nullptr)));
}

RegexMatcher::~RegexMatcher() = default;

bool RegexMatcher::find(std::string_view text, size_t from, Span& match) {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const auto run = [&](uint32_t options) {
    // Without PCRE2_NO_UTF_CHECK every call would check the rest of the text again: quadratic.
    return pcre2_match(regex_->code.get(), subject, text.size(), from, options | PCRE2_NO_UTF_CHECK,
                       state_->data.get(), regex_->context.get());
  };
  int result = run(0);
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = run(PCRE2_NO_JIT);  // which grows on the heap
  if (result == PCRE2_ERROR_NOMATCH) return false;
  if (result < 0)
    fail("{}: the pattern cannot be matched against this text: {}", regex_->what, error_text(result));
  const size_t* ends = pcre2_get_ovector_pointer(state_->data.get());
  match = {ends[0], ends[1]};
  return true;
}

}  // namespace chorus
