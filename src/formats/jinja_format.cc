#include "formats/jinja_format.h"

#include <cmath>
#include <ctime>
#include <limits>

#include "formats/jinja_context.h"
#include "formats/jinja_filters.h"
#include "formats/jinja_operators.h"
#include "formats/jinja_text.h"

namespace chorus::jinja {
namespace {

constexpr int kWidest = 1000;  // of a padded number or precision

// %[flags][width][.precision]conversion
struct Directive {
  bool left = false, zero = false, plus = false, space = false, alternate = false;
  int width = 0;
  int precision = -1;
  char conversion = 0;
};

class PercentFormat {
 public:
  PercentFormat(Context& ctx, std::string_view text, const Value& arguments)
      : ctx_(ctx), text_(text), arguments_(arguments) {
    const ListPtr* list = arguments.get<ListPtr>();
    if (list != nullptr && (*list)->tuple) tuple_ = list->get();
  }

  std::string run();

 private:
  char next() {
    if (text_.empty()) ctx_.fail("a format ends within a directive");
    const char c = text_[0];
    text_.remove_prefix(1);
    return c;
  }
  int number(char first);
  Directive directive(char& c);
  const Value& argument();
  std::string convert(const Directive& directive, const Value& value);
  std::string convert_integer(const Directive& directive, const Value& value);
  std::string convert_float(const Directive& directive, const Value& value);

  Context& ctx_;
  std::string_view text_;
  const Value& arguments_;
  const List* tuple_ = nullptr;
  size_t used_ = 0;
  Value by_name_;
};

int PercentFormat::number(char first) {
  int n = first - '0';
  while (!text_.empty() && text_[0] >= '0' && text_[0] <= '9') {
    n = n * 10 + (next() - '0');
    if (n > kWidest) ctx_.fail("a format is wider than {}", kWidest);
  }
  return n;
}

const Value& PercentFormat::argument() {
  if (tuple_ == nullptr && used_++ == 0) return arguments_;
  if (tuple_ != nullptr && used_ < tuple_->items.size()) return tuple_->items[used_++];
  ctx_.fail("a format has more directives than values");
}

Directive PercentFormat::directive(char& c) {
  Directive d;
  for (;; c = next()) {
    if (c == '-')
      d.left = true;
    else if (c == '0')
      d.zero = true;
    else if (c == '+')
      d.plus = true;
    else if (c == ' ')
      d.space = true;
    else if (c == '#')
      d.alternate = true;
    else
      break;
  }
  if (c >= '1' && c <= '9') {
    d.width = number(c);
    c = next();
  }
  if (c == '.') {
    c = next();
    d.precision = 0;
    if (c >= '0' && c <= '9') {
      d.precision = number(c);
      c = next();
    }
  }
  d.conversion = c;
  return d;
}

std::string PercentFormat::convert_integer(const Directive& d, const Value& value) {
  const auto n = number_of(value);
  if (!n) ctx_.fail("%{} needs a number, not {}", d.conversion, type_name(value));
  if (n->is_float && d.conversion != 'd' && d.conversion != 'i' && d.conversion != 'u')
    ctx_.fail("%{} needs an integer", d.conversion);
  if (n->is_float && !(std::fabs(n->real) < 9e18)) ctx_.fail("an integer does not fit 64 bits");
  const int64_t i = n->is_float ? static_cast<int64_t>(n->real) : n->integer;
  const uint64_t magnitude = i < 0 ? -static_cast<uint64_t>(i) : static_cast<uint64_t>(i);
  std::string digits = d.conversion == 'x'   ? fmt::format("{:x}", magnitude)
                       : d.conversion == 'X' ? fmt::format("{:X}", magnitude)
                       : d.conversion == 'o' ? fmt::format("{:o}", magnitude)
                                             : fmt::format("{}", magnitude);
  if (d.precision > static_cast<int>(digits.size()))
    digits.insert(0, static_cast<size_t>(d.precision) - digits.size(), '0');
  if (d.alternate && d.conversion != 'd' && d.conversion != 'i' && d.conversion != 'u')
    digits.insert(0, std::string("0") + d.conversion);
  return (i < 0 ? "-" : d.plus ? "+" : d.space ? " " : "") + digits;
}

std::string PercentFormat::convert_float(const Directive& d, const Value& value) {
  const auto n = number_of(value);
  if (!n) ctx_.fail("%{} needs a number, not {}", d.conversion, type_name(value));
  const int precision = d.precision < 0 ? 6 : d.precision;
  const double magnitude = std::fabs(n->real);
  std::string digits;
  switch (d.conversion) {
    case 'f':
    case 'F':
      digits = fmt::format("{:.{}f}", magnitude, precision);
      break;
    case 'e':
      digits = fmt::format("{:.{}e}", magnitude, precision);
      break;
    case 'E':
      digits = fmt::format("{:.{}E}", magnitude, precision);
      break;
    case 'g':
      digits = fmt::format("{:.{}g}", magnitude, precision);
      break;
    default:
      digits = fmt::format("{:.{}G}", magnitude, precision);
  }
  return (std::signbit(n->real) && !std::isnan(n->real) ? "-" : d.plus ? "+" : d.space ? " " : "") + digits;
}

std::string PercentFormat::convert(const Directive& d, const Value& value) {
  switch (d.conversion) {
    case 's':
    case 'r':
    case 'a': {
      std::string text = d.conversion == 's' ? to_text(ctx_, value) : to_repr(ctx_, value);
      if (d.precision >= 0) text.resize(char_offset(text, static_cast<size_t>(d.precision)));
      return text;
    }
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o':
      return convert_integer(d, value);
    case 'f':
    case 'F':
    case 'e':
    case 'E':
    case 'g':
    case 'G':
      return convert_float(d, value);
    default:
      ctx_.fail("the format directive '%{}' is not supported", printable({&d.conversion, 1}));
  }
}

std::string PercentFormat::run() {
  std::string out;
  while (!text_.empty()) {
    const size_t percent = text_.find('%');
    ctx_.write(out, text_.substr(0, percent));
    if (percent == std::string_view::npos) break;
    text_.remove_prefix(percent + 1);
    char c = next();
    if (c == '%') {
      out += '%';
      continue;
    }
    const Value* value = nullptr;
    if (c == '(') {
      const size_t close = text_.find(')');
      if (close == std::string_view::npos || !arguments_.is<DictPtr>())
        ctx_.fail("%( needs a name and a dict");
      value = find_key(ctx_, **arguments_.get<DictPtr>(), Value(std::string(text_.substr(0, close))));
      if (value == nullptr) ctx_.fail("a format names a key that the dict does not have");
      text_.remove_prefix(close + 1);
      c = next();
    }
    const Directive d = directive(c);
    std::string text = convert(d, value == nullptr ? argument() : *value);
    const size_t size = char_count(text);
    const auto width = static_cast<size_t>(d.width);
    const bool numeric = d.conversion != 's' && d.conversion != 'r' && d.conversion != 'a';
    if (size < width && d.left) {
      text.append(width - size, ' ');
    } else if (size < width && d.zero && numeric) {
      const bool sign = text[0] == '-' || text[0] == '+' || text[0] == ' ';
      text.insert(sign ? 1 : 0, width - size, '0');
    } else if (size < width) {
      text.insert(0, width - size, ' ');
    }
    ctx_.write(out, text);
  }
  const bool all_used = tuple_ == nullptr || used_ == tuple_->items.size();
  const bool loose =
      tuple_ == nullptr && used_ == 0 && !arguments_.is<DictPtr>() && !arguments_.is<ListPtr>();
  if (!all_used || loose) ctx_.fail("a format has fewer directives than values");
  return out;
}

// "0.name[3]": an argument and what is picked from it.
Value field_value(Context& ctx, std::string_view field, const Args& args, size_t& automatic) {
  const size_t end = std::min(field.find_first_of(".["), field.size());
  std::string_view head = field.substr(0, end);
  Value value;
  if (head.empty() || (head[0] >= '0' && head[0] <= '9')) {
    size_t index = 0;
    if (head.empty()) index = automatic++;
    for (const char c : head)
      index = c >= '0' && c <= '9' && index < 1000 ? index * 10 + static_cast<size_t>(c - '0') : 100'000;
    if (index >= args.positional.size()) ctx.fail("format(): there is no argument '{}'", head);
    value = args.positional[index];
  } else {
    const Value* found = nullptr;
    for (const auto& [name, argument] : args.named)
      if (name == head) found = &argument;
    if (found == nullptr) ctx.fail("format(): there is no argument '{}'", head);
    value = *found;
  }
  for (std::string_view rest = field.substr(end); !rest.empty();) {
    const bool item = rest[0] == '[';
    rest.remove_prefix(1);
    const size_t stop = std::min(item ? rest.find(']') : rest.find_first_of(".["), rest.size());
    const std::string name(rest.substr(0, stop));
    if (name.empty()) ctx.fail("format(): an empty attribute");
    value = item ? by_path(ctx, value, Value(name)) : get_attribute(ctx, value, name);
    rest.remove_prefix(std::min(stop + (item ? 1 : 0), rest.size()));
  }
  return value;
}

}  // namespace

Value format_percent(Context& ctx, std::string_view text, const Value& arguments) {
  return Value(PercentFormat(ctx, text, arguments).run());
}

Value format_braces(Context& ctx, std::string_view text, const Args& args) {
  std::string out;
  size_t automatic = 0;
  while (!text.empty()) {
    const size_t brace = std::min(text.find_first_of("{}"), text.size());
    ctx.write(out, text.substr(0, brace));
    text.remove_prefix(brace);
    if (text.empty()) break;
    if (text.size() > 1 && text[1] == text[0]) {
      out += text[0];
      text.remove_prefix(2);
      continue;
    }
    const size_t close = text.find('}');
    if (text[0] == '}' || close == std::string_view::npos) ctx.fail("format(): a single brace");
    std::string_view field = text.substr(1, close - 1);
    text.remove_prefix(close + 1);
    bool repr = false;
    if (field.ends_with("!r") || field.ends_with("!s")) {
      repr = field.ends_with("!r");
      field.remove_suffix(2);
    }
    if (field.find_first_of(":!{") != std::string_view::npos)
      ctx.fail("format(): format specifications are not supported");
    const Value value = field_value(ctx, field, args, automatic);
    ctx.write(out, repr ? to_repr(ctx, value) : to_text(ctx, value));
  }
  return Value(std::move(out));
}

Value format_time(Context& ctx, std::string_view format, int64_t unix_seconds) {
  static_assert(std::numeric_limits<time_t>::digits == 63);
  const time_t seconds = unix_seconds;
  std::tm time{};
  if (gmtime_r(&seconds, &time) == nullptr) ctx.fail("strftime_now(): the time is out of range");
  constexpr std::string_view kDirectives = "aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%";
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    std::string directive = "%";
    if (++i < format.size() && format[i] == '-') directive += format[i++];
    if (i >= format.size() || kDirectives.find(format[i]) == std::string_view::npos)
      ctx.fail("strftime_now(): an unknown directive");
    directive += format[i];
    char buffer[128];
    out.append(buffer, std::strftime(buffer, sizeof buffer, directive.c_str(), &time));
    ctx.charge(1);
  }
  return ctx.text(std::move(out));
}

}  // namespace chorus::jinja
