#include "formats/jinja_text.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <charconv>
#include <cmath>

namespace chorus::jinja {
namespace {

utf8proc_category_t category(uint32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

bool is_cased(uint32_t c) {
  const auto kind = category(c);
  return kind == UTF8PROC_CATEGORY_LU || kind == UTF8PROC_CATEGORY_LL || kind == UTF8PROC_CATEGORY_LT;
}

void append_upper(std::string& out, uint32_t c) {
  if (c == 0xDF)
    out += "SS";  // the one common letter whose capital form is longer
  else
    append_utf8(out, static_cast<uint32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
}

void append_lower(std::string& out, uint32_t c) {
  append_utf8(out, static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
}

// Calls visit(code point, its bytes) for each character.
template <typename Visit>
void each_char(std::string_view text, Visit visit) {
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = decode_utf8(text.substr(i));
    visit(c.code_point, text.substr(i, c.length));
    i += c.length;
  }
}

// The last character of a text that is not empty.
std::string_view last_char(std::string_view text) {
  size_t begin = text.size() - 1;
  while (begin > 0 && text.size() - begin < 4 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80)
    --begin;
  const std::string_view tail = text.substr(begin);
  return decode_utf8(tail).length == tail.size() ? tail : text.substr(text.size() - 1);
}

template <typename Drop>
std::string_view strip_where(std::string_view text, Ends ends, Drop drop) {
  while (ends.left && !text.empty()) {
    const std::string_view c = text.substr(0, decode_utf8(text).length);
    if (!drop(c)) break;
    text.remove_prefix(c.size());
  }
  while (ends.right && !text.empty()) {
    const std::string_view c = last_char(text);
    if (!drop(c)) break;
    text.remove_suffix(c.size());
  }
  return text;
}

size_t line_break_length(std::string_view text) {
  const Utf8Char c = decode_utf8(text);
  if (text.substr(0, 2) == "\r\n") return 2;
  const uint32_t p = c.code_point;
  const bool breaks =
      (p >= 0x0A && p <= 0x0D) || (p >= 0x1C && p <= 0x1E) || p == 0x85 || p == 0x2028 || p == 0x2029;
  return breaks && c.valid ? c.length : 0;
}

bool is_printable(uint32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    case UTF8PROC_CATEGORY_ZS:
      return c == ' ';
    default:
      return true;
  }
}

}  // namespace

bool is_space(uint32_t c) {
  return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_word(uint32_t c) {
  if (c < 0x80) return c == '_' || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
  const auto kind = category(c);
  return (kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO) ||
         (kind >= UTF8PROC_CATEGORY_ND && kind <= UTF8PROC_CATEGORY_NO);
}

size_t char_count(std::string_view text) {
  size_t n = 0;
  each_char(text, [&](uint32_t, std::string_view) { ++n; });
  return n;
}

size_t char_offset(std::string_view text, size_t index) {
  size_t offset = 0;
  while (index-- > 0 && offset < text.size()) offset += decode_utf8(text.substr(offset)).length;
  return offset;
}

std::vector<std::string_view> chars(std::string_view text) {
  std::vector<std::string_view> out;
  each_char(text, [&](uint32_t, std::string_view bytes) { out.push_back(bytes); });
  return out;
}

std::string_view strip(std::string_view text, Ends ends) {
  return strip_where(text, ends, [](std::string_view c) { return is_space(decode_utf8(c).code_point); });
}

std::string_view strip(std::string_view text, std::string_view set, Ends ends) {
  const std::vector<std::string_view> members = chars(set);
  return strip_where(text, ends, [&](std::string_view c) {
    for (const std::string_view member : members)
      if (c == member) return true;
    return false;
  });
}

std::string upper(std::string_view text) {
  std::string out;
  each_char(text, [&](uint32_t c, std::string_view) { append_upper(out, c); });
  return out;
}

std::string lower(std::string_view text) {
  std::string out;
  each_char(text, [&](uint32_t c, std::string_view) { append_lower(out, c); });
  return out;
}

std::string capitalize(std::string_view text) {
  const size_t first = char_offset(text, 1);
  return upper(text.substr(0, first)) + lower(text.substr(first));
}

std::string title(std::string_view text) {
  std::string out;
  bool inside = false;
  each_char(text, [&](uint32_t c, std::string_view) {
    inside ? append_lower(out, c) : append_upper(out, c);
    inside = is_cased(c);
  });
  return out;
}

std::string title_filter(std::string_view text) {
  std::string out;
  bool inside = false;
  each_char(text, [&](uint32_t c, std::string_view) {
    const bool separator = is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
    inside ? append_lower(out, c) : append_upper(out, c);
    inside = !separator;
  });
  return out;
}

std::string replace(std::string_view text, std::string_view from, std::string_view to, size_t most) {
  std::string out;
  size_t done = 0;
  if (from.empty()) {  // before every character and at the end
    each_char(text, [&](uint32_t, std::string_view c) {
      if (done++ < most) out += to;
      out += c;
    });
    if (done < most) out += to;
    return out;
  }
  while (done++ < most) {
    const size_t at = text.find(from);
    if (at == std::string_view::npos) break;
    out += text.substr(0, at);
    out += to;
    text.remove_prefix(at + from.size());
  }
  return out += text;
}

std::vector<std::string_view> split(std::string_view text, std::string_view separator, size_t most) {
  std::vector<std::string_view> out;
  while (out.size() < most) {
    const size_t at = text.find(separator);
    if (at == std::string_view::npos) break;
    out.push_back(text.substr(0, at));
    text.remove_prefix(at + separator.size());
  }
  out.push_back(text);
  return out;
}

std::vector<std::string_view> split_right(std::string_view text, std::string_view separator, size_t most) {
  std::vector<std::string_view> out;
  while (out.size() < most) {
    const size_t at = text.rfind(separator);
    if (at == std::string_view::npos) break;
    out.push_back(text.substr(at + separator.size()));
    text = text.substr(0, at);
  }
  out.push_back(text);
  return {out.rbegin(), out.rend()};
}

std::vector<std::string_view> split_space(std::string_view text, size_t most) {
  std::vector<std::string_view> out;
  text = strip(text, {true, false});
  while (!text.empty()) {
    if (out.size() == most) {
      out.push_back(text);
      break;
    }
    size_t end = 0;
    while (end < text.size()) {
      const Utf8Char c = decode_utf8(text.substr(end));
      if (is_space(c.code_point)) break;
      end += c.length;
    }
    out.push_back(text.substr(0, end));
    text = strip(text.substr(end), {true, false});
  }
  return out;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> out;
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t length = line_break_length(text.substr(i));
    if (length == 0) {
      i += decode_utf8(text.substr(i)).length;
      continue;
    }
    out.push_back(text.substr(begin, i - begin + (keep_ends ? length : 0)));
    i += length;
    begin = i;
  }
  if (begin < text.size()) out.push_back(text.substr(begin));
  return out;
}

size_t count(std::string_view text, std::string_view part) {
  if (part.empty()) return char_count(text) + 1;
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size())) ++n;
  return n;
}

size_t count_words(std::string_view text) {
  size_t n = 0;
  bool inside = false;
  each_char(text, [&](uint32_t c, std::string_view) {
    const bool word = is_word(c);
    if (word && !inside) ++n;
    inside = word;
  });
  return n;
}

std::string quoted(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  each_char(text, [&](uint32_t c, std::string_view bytes) {
    if (c == static_cast<uint32_t>(quote) || c == '\\') {
      out += '\\';
      out += bytes;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else if (is_printable(c)) {
      out += bytes;
    } else if (c < 0x100) {
      out += fmt::format("\\x{:02x}", c);
    } else {
      out += c < 0x10000 ? fmt::format("\\u{:04x}", c) : fmt::format("\\U{:08x}", c);
    }
  });
  return out += quote;
}

// Python prints the shortest digits that read back as the same double, with an exponent below 1e-4 and from
// 1e16 on.
std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  const double magnitude = std::fabs(value);
  const bool fixed = magnitude == 0 || (magnitude >= 1e-4 && magnitude < 1e16);
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value,
                                 fixed ? std::chars_format::fixed : std::chars_format::scientific);
  std::string out(buffer, end.ptr);
  if (fixed && out.find('.') == std::string::npos) out += ".0";
  return out;
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace chorus::jinja
