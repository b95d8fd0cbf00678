#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"

namespace chorus {

// How deep groups may nest in what a client writes; the parsers recurse this far and no further.
constexpr int kMaxGrammarDepth = 64;
// Of a repetition's bounds: they are counted, not unrolled.
constexpr int kMaxRepeat = 2'000'000'000;

// Goes through a text one code point at a time; its errors name line and column.
class TextCursor {
 public:
  static constexpr uint32_t kEnd = 0xFFFFFFFF;

  // `what` begins the errors: "grammar", "regex".
  TextCursor(std::string_view text, std::string_view what) : text_(text), what_(what) {}

  bool at_end() const { return at_ == text_.size(); }
  size_t position() const { return at_; }
  void move_to(size_t position) { at_ = position; }
  // The byte `ahead` of the cursor; 0 past the end.
  char peek(size_t ahead = 0) const { return ahead < text_.size() - at_ ? text_[at_ + ahead] : '\0'; }
  bool starts_with(std::string_view prefix) const { return text_.substr(at_).starts_with(prefix); }
  bool accept(std::string_view prefix) {
    if (!starts_with(prefix)) return false;
    at_ += prefix.size();
    return true;
  }
  std::string_view since(size_t begin) const { return text_.substr(begin, at_ - begin); }

  // Error: not UTF-8, or the text ends.
  uint32_t next() {
    if (at_end()) fail_here("the text ends too early");
    const Utf8Char c = decode_utf8(text_.substr(at_));
    if (!c.valid) fail_here("not valid UTF-8");
    at_ += c.length;
    return c.code_point;
  }

  // Exactly `digits` hexadecimal digits.
  uint32_t hex(int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; ++i) value = value * 16 + hex_digit();
    return value;
  }
  bool at_hex() const { return hex_value(peek()) >= 0; }
  uint32_t hex_digit() {
    const int value = hex_value(peek());
    if (value < 0 || at_end()) fail_here("a hexadecimal digit is missing");
    ++at_;
    return static_cast<uint32_t>(value);
  }

  bool at_digit() const { return peek() >= '0' && peek() <= '9'; }
  // A decimal number up to kMaxRepeat.
  int count() {
    if (!at_digit()) fail_here("a number is missing");
    int64_t value = 0;
    while (at_digit()) {
      value = value * 10 + (text_[at_] - '0');
      if (value > kMaxRepeat) fail_here("a repetition is bounded by {}", kMaxRepeat);
      ++at_;
    }
    return static_cast<int>(value);
  }

  template <typename... Args>
  [[noreturn]] void fail_here(fmt::format_string<Args...> format, Args&&... args) const {
    fail_at(at_, format, std::forward<Args>(args)...);
  }
  template <typename... Args>
  [[noreturn]] void fail_at(size_t position, fmt::format_string<Args...> format, Args&&... args) const {
    size_t line = 1, column = 1;
    for (const char c : text_.substr(0, position)) {
      const bool newline = c == '\n', continues = (static_cast<unsigned char>(c) & 0xC0) == 0x80;
      line += newline ? 1 : 0;
      column = newline ? 1 : column + (continues ? 0 : 1);
    }
    fail("{}, line {}, column {}: {}", what_, line, column, fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  }

  std::string_view text_, what_;
  size_t at_ = 0;
};

}  // namespace chorus
