#include "formats/jinja_lexer.h"

#include <algorithm>

#include "base/error.h"
#include "formats/jinja_text.h"

namespace chorus::jinja {
namespace {

constexpr auto kNone = std::string_view::npos;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_white(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

class Lexer {
 public:
  explicit Lexer(std::string_view source);
  std::vector<Token> run();

 private:
  [[noreturn]] void error(std::string_view message) const {
    fail("chat template: line {}: {}", line_, printable(message, 200));
  }
  char at(size_t i) const { return i < source_.size() ? source_[i] : '\0'; }
  std::string_view rest() const { return std::string_view(source_).substr(pos_); }
  void push(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  void advance(size_t bytes);
  void skip_white();

  void data_until(size_t tag);
  void comment();
  bool raw();
  void tag(std::string_view end, TokenKind begin_kind, TokenKind end_kind);
  bool end_of_tag(std::string_view end, TokenKind kind);
  void after_tag(bool strip, bool keep_newline);
  void token();
  void number();
  void name();
  void string();
  std::string unescape(std::string_view text) const;
  void op();

  std::string source_;
  size_t pos_ = 0;
  int line_ = 1;
  bool line_start_ = true;  // nothing but a tag's own newline came before on this line
  std::vector<char> brackets_;
  std::vector<Token> tokens_;
};

Lexer::Lexer(std::string_view source) {
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      source_ += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      source_ += source[i];
    }
  }
  if (source_.ends_with('\n')) source_.pop_back();  // Jinja's keep_trailing_newline is off
}

void Lexer::advance(size_t bytes) {
  line_ += static_cast<int>(std::count(source_.begin() + static_cast<ptrdiff_t>(pos_),
                                       source_.begin() + static_cast<ptrdiff_t>(pos_ + bytes), '\n'));
  pos_ += bytes;
}

void Lexer::skip_white() { advance(rest().size() - strip(rest(), {true, false}).size()); }

std::vector<Token> Lexer::run() {
  while (pos_ < source_.size()) {
    size_t tag_at = pos_;
    while (true) {
      tag_at = source_.find('{', tag_at);
      if (tag_at == kNone) break;
      const char next = at(tag_at + 1);
      if (next == '%' || next == '#' || next == '{') break;
      ++tag_at;
    }
    if (tag_at == kNone) {
      push(TokenKind::kData, source_.substr(pos_));
      break;
    }
    data_until(tag_at);
    const char kind = at(pos_ + 1);
    if (kind == '#') {
      comment();
    } else if (kind == '{') {
      tag("}}", TokenKind::kVariableBegin, TokenKind::kVariableEnd);
    } else if (!raw()) {
      tag("%}", TokenKind::kBlockBegin, TokenKind::kBlockEnd);
    }
  }
  push(TokenKind::kEnd, "");
  return std::move(tokens_);
}

// Text up to a tag, whose sign or lstrip_blocks takes white space away from its end.
void Lexer::data_until(size_t tag) {
  std::string_view text = rest().substr(0, tag - pos_);
  const size_t whole = text.size();
  const char sign = at(tag + 2);
  if (sign == '-') {
    text = strip(text, {false, true});
  } else if (sign != '+' && at(tag + 1) != '{') {
    const size_t newline = text.rfind('\n');
    const size_t line_begin = newline == kNone ? 0 : newline + 1;
    const bool from_start = newline != kNone || line_start_;
    if (from_start && strip(text.substr(line_begin)).empty()) text = text.substr(0, line_begin);
  }
  if (!text.empty()) push(TokenKind::kData, std::string(text));
  advance(whole);
}

// After "%}", "#}" or "}}": the '-' sign eats white space, trim_blocks one newline.
void Lexer::after_tag(bool strip, bool keep_newline) {
  const size_t before = pos_;
  if (strip)
    skip_white();
  else if (!keep_newline && at(pos_) == '\n')
    advance(1);
  line_start_ = pos_ > before && source_[pos_ - 1] == '\n';
}

void Lexer::comment() {
  const size_t end = source_.find("#}", pos_ + 2);
  if (end == kNone) error("a comment has no end");
  const char sign = end > pos_ + 2 ? source_[end - 1] : '\0';
  advance(end + 2 - pos_);
  after_tag(sign == '-', sign == '+');
}

// {% raw %}...{% endraw %} at the position, if there is one.
bool Lexer::raw() {
  size_t i = pos_ + 2;
  if (at(i) == '-' || at(i) == '+') ++i;
  while (is_white(at(i))) ++i;
  if (source_.compare(i, 3, "raw") != 0) return false;
  i += 3;
  while (is_white(at(i))) ++i;
  const bool strip_begin = at(i) == '-';
  if (strip_begin) ++i;
  if (source_.compare(i, 2, "%}") != 0) return false;
  advance(i + 2 - pos_);
  if (strip_begin) skip_white();
  for (size_t tag_at = source_.find("{%", pos_); tag_at != kNone; tag_at = source_.find("{%", tag_at + 2)) {
    i = tag_at + 2;
    if (at(i) == '-' || at(i) == '+') ++i;
    while (is_white(at(i))) ++i;
    if (source_.compare(i, 6, "endraw") != 0) continue;
    i += 6;
    while (is_white(at(i))) ++i;
    const char sign = at(i);
    if (sign == '-' || sign == '+') ++i;
    if (source_.compare(i, 2, "%}") != 0) continue;
    line_start_ = false;
    data_until(tag_at);
    advance(i + 2 - pos_);
    after_tag(sign == '-', sign == '+');
    return true;
  }
  error("{% raw %} has no {% endraw %}");
}

void Lexer::tag(std::string_view end, TokenKind begin_kind, TokenKind end_kind) {
  push(begin_kind, "");
  const char sign = at(pos_ + 2);
  advance(sign == '-' || sign == '+' ? 3 : 2);
  brackets_.clear();
  while (!end_of_tag(end, end_kind)) {
    if (pos_ >= source_.size()) error("a tag has no end");
    token();
  }
}

bool Lexer::end_of_tag(std::string_view end, TokenKind kind) {
  skip_white();
  if (!brackets_.empty()) return false;
  const bool block = kind == TokenKind::kBlockEnd;
  const bool signed_end = at(pos_) == '-' || (at(pos_) == '+' && block);
  const size_t sign_bytes = signed_end ? 1 : 0;
  if (rest().substr(std::min(sign_bytes, rest().size()), 2) != end) return false;
  const char sign = signed_end ? at(pos_) : '\0';
  push(kind, "");
  advance(sign_bytes + 2);
  after_tag(sign == '-', sign == '+' || !block);
  return true;
}

void Lexer::token() {
  const char c = at(pos_);
  if (c == '"' || c == '\'') return string();
  if (is_digit(c)) return number();
  const Utf8Char first = decode_utf8(rest());
  if (first.valid && is_word(first.code_point)) return name();
  op();
}

void Lexer::name() {
  size_t end = pos_;
  while (end < source_.size()) {
    const Utf8Char c = decode_utf8(std::string_view(source_).substr(end));
    if (!c.valid || !is_word(c.code_point)) break;
    end += c.length;
  }
  push(TokenKind::kName, source_.substr(pos_, end - pos_));
  pos_ = end;
}

void Lexer::number() {
  const size_t begin = pos_;
  const auto digits = [&](size_t i, auto accept) {
    while (accept(at(i)) || (at(i) == '_' && accept(at(i + 1)) && i > begin)) ++i;
    return i;
  };
  const auto decimal = [](char c) { return is_digit(c); };
  const auto hex = [](char c) { return is_digit(c) || ((c | 32) >= 'a' && (c | 32) <= 'f'); };
  const char radix = static_cast<char>(at(pos_ + 1) | 32);
  bool is_float = false;
  size_t end = digits(pos_, decimal);
  if (at(pos_) == '0' && radix == 'x' && (hex(at(pos_ + 2)) || at(pos_ + 2) == '_')) {
    end = digits(pos_ + 2, hex);
  } else if (at(pos_) == '0' && (radix == 'o' || radix == 'b') && decimal(at(pos_ + 2))) {
    end = digits(pos_ + 2, [&](char c) { return c >= '0' && c <= (radix == 'o' ? '7' : '1'); });
  } else {
    const bool after_dot = !tokens_.empty() && tokens_.back().text == "." && pos_ > 0 && at(pos_ - 1) == '.';
    if (!after_dot && at(end) == '.' && is_digit(at(end + 1))) {
      is_float = true;
      end = digits(end + 1, decimal);
    }
    const size_t power = at(end + 1) == '+' || at(end + 1) == '-' ? end + 2 : end + 1;
    if (!after_dot && (at(end) | 32) == 'e' && is_digit(at(power))) {
      is_float = true;
      end = digits(power, decimal);
    }
    if (!is_float && at(pos_) == '0') {  // 007 is a 0 and what follows
      end = digits(pos_, [](char c) { return c == '0'; });
    }
  }
  std::string text = source_.substr(begin, end - begin);
  std::erase(text, '_');
  push(is_float ? TokenKind::kFloat : TokenKind::kInteger, std::move(text));
  pos_ = end;
}

void Lexer::string() {
  const char quote = at(pos_);
  size_t end = pos_ + 1;
  while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
  if (end >= source_.size()) error("a string has no end");
  push(TokenKind::kString, unescape(std::string_view(source_).substr(pos_ + 1, end - pos_ - 1)));
  advance(end + 1 - pos_);
}

// Python's escapes. Unknown ones stay as they are.
std::string Lexer::unescape(std::string_view text) const {
  constexpr std::string_view kFrom = "\\'\"abfnrtv";
  constexpr std::string_view kTo = "\\'\"\a\b\f\n\r\t\v";
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      out += text[i];
      continue;
    }
    const char c = text[++i];
    uint32_t code = 0;
    if (const size_t known = kFrom.find(c); known != kNone) {
      out += kTo[known];
    } else if (c == '\n') {  // a line continued
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const size_t length = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      for (size_t k = 0; k < length; ++k) {
        const char h = i + 1 < text.size() ? text[++i] : '\0';
        const bool letter = (h | 32) >= 'a' && (h | 32) <= 'f';
        if (!is_digit(h) && !letter) error("a string has a broken \\x or \\u escape");
        code = code << 4 | static_cast<uint32_t>(letter ? (h | 32) - 'a' + 10 : h - '0');
      }
      if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) error("a string escape is no character");
      append_utf8(out, code);
    } else if (c >= '0' && c <= '7') {
      for (size_t k = 0; k < 3 && i < text.size() && text[i] >= '0' && text[i] <= '7'; ++k, ++i)
        code = code << 3 | static_cast<uint32_t>(text[i] - '0');
      --i;
      append_utf8(out, code);
    } else if (c == 'N') {
      error("named characters (\\N{...}) are not supported");
    } else {
      out += '\\';
      out += c;
    }
  }
  return out;
}

void Lexer::op() {
  static constexpr std::string_view kOperators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                    "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                    ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
  for (const std::string_view candidate : kOperators) {
    if (!rest().starts_with(candidate)) continue;
    const char c = candidate[0];
    if (c == '(' || c == '[' || c == '{') brackets_.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    if (c == ')' || c == ']' || c == '}') {
      if (brackets_.empty() || brackets_.back() != c) error(fmt::format("unexpected '{}'", c));
      brackets_.pop_back();
    }
    push(TokenKind::kOperator, std::string(candidate));
    pos_ += candidate.size();
    return;
  }
  error(fmt::format("unexpected character '{}'", rest().substr(0, decode_utf8(rest()).length)));
}

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace chorus::jinja
