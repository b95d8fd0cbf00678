#include "formats/jinja_filters.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "formats/jinja_context.h"
#include "formats/jinja_format.h"
#include "formats/jinja_methods.h"
#include "formats/jinja_operators.h"
#include "formats/jinja_text.h"

// Filters on text and numbers, and the table's look-up.
namespace chorus::jinja {
namespace {

using A = const Args&;
using C = Context&;
using V = const Value&;

template <std::string (*change)(std::string_view)>
Value change_text(C ctx, V value, A args) {
  const Bound bound(ctx, args, "filter", {});
  return ctx.text(change(to_text(ctx, value)));
}

std::string unchanged(std::string_view text) { return std::string(text); }

// A filter that is the string's method of the same name.
template <const char* name>
Value by_method(C ctx, V value, A args) {
  const Value method = *native_attribute(ctx, ctx.text(to_text(ctx, value)), name);
  const Callable& callable = **method.get<CallablePtr>();
  return callable.native(ctx, callable, args);
}

constexpr char kStrip[] = "strip";

Value replace_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "replace", {"old", "new", "count"}, 2);
  Args strings;
  strings.positional = {ctx.text(to_text(ctx, *bound[0])), ctx.text(to_text(ctx, *bound[1]))};
  if (bound.integer(2)) strings.positional.push_back(*bound[2]);
  static constexpr char kReplace[] = "replace";
  return by_method<kReplace>(ctx, value, strings);
}

Value indent_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "indent", {"width", "first", "blank"});
  std::string indent = "    ";
  if (bound[0] != nullptr && bound[0]->text() != nullptr) {
    indent = *bound[0]->text();
  } else if (const auto width = bound.integer(0)) {
    ctx.charge_bytes(static_cast<size_t>(std::max<int64_t>(*width, 0)));
    indent.assign(static_cast<size_t>(std::max<int64_t>(*width, 0)), ' ');
  }
  const std::string text = to_text(ctx, value) + "\n";
  const std::vector<std::string_view> lines = split_lines(text);
  std::string out;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) ctx.write(out, "\n");
    if (i == 0 ? bound.flag(1) : bound.flag(2) || !lines[i].empty()) ctx.write(out, indent);
    ctx.write(out, lines[i]);
  }
  return Value(std::move(out));
}

Value wordcount_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "wordcount", {});
  return Value(static_cast<int64_t>(count_words(to_text(ctx, value))));
}

Value center_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "center", {"width"});
  const std::string text = to_text(ctx, value);
  const int64_t width = bound.integer(0).value_or(80);
  const int64_t missing = width - static_cast<int64_t>(char_count(text));
  if (missing <= 0) return ctx.text(text);
  ctx.charge_bytes(static_cast<size_t>(missing));
  const int64_t left = missing / 2 + (missing & width & 1);
  return ctx.text(std::string(static_cast<size_t>(left), ' ') + text +
                  std::string(static_cast<size_t>(missing - left), ' '));
}

Value truncate_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "truncate", {"length", "killwords", "end", "leeway"});
  const std::string text = to_text(ctx, value);
  const std::string end = bound.text_or(2, "...");
  const int64_t length = bound.integer(0).value_or(255);
  const int64_t room = length - static_cast<int64_t>(char_count(end));
  const int64_t leeway = bound.integer(3).value_or(5);
  if (room < 0 || leeway < 0 || leeway > INT32_MAX || length > INT32_MAX)
    ctx.fail("truncate: the length or leeway is out of range");
  if (static_cast<int64_t>(char_count(text)) <= length + leeway) return ctx.text(text);
  std::string out = text.substr(0, char_offset(text, static_cast<size_t>(room)));
  if (!bound.flag(1)) out = out.substr(0, out.rfind(' '));
  return ctx.text(out + end);
}

Value format_filter(C ctx, V value, A args) {
  if (!args.positional.empty() && !args.named.empty())
    ctx.fail("format: arguments by name or by position, not both");
  if (args.named.empty()) return format_percent(ctx, to_text(ctx, value), ctx.list(args.positional, true));
  Dict named;
  for (const auto& [name, argument] : args.named) put_key(ctx, named, Value(name), argument);
  return format_percent(ctx, to_text(ctx, value), ctx.dict(std::move(named)));
}

std::optional<double> parse_float(std::string_view text) {
  std::string digits(strip(text));
  std::erase(digits, '_');
  const char* begin = digits.data() + (digits.starts_with('+') ? 1 : 0);
  double value = 0;
  const auto end = std::from_chars(begin, digits.data() + digits.size(), value);
  if (digits.empty() || end.ptr != digits.data() + digits.size()) return std::nullopt;
  if (end.ec == std::errc::result_out_of_range) return std::strtod(digits.c_str(), nullptr);
  return value;
}

std::optional<int64_t> parse_integer(C ctx, std::string_view text, int64_t base) {
  std::string digits(strip(text));
  std::erase(digits, '_');
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.erase(0, 1);
  const char mark = digits.size() > 2 && digits[0] == '0' ? static_cast<char>(digits[1] | 32) : '\0';
  const int64_t marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
  if (marked != 0 && (base == marked || base == 0)) digits.erase(0, 2);
  if (base == 0) base = marked == 0 ? 10 : marked;
  if (base < 2 || base > 36 || digits.empty() || digits[0] == '-') return std::nullopt;
  if (negative) digits.insert(0, 1, '-');
  int64_t value = 0;
  const auto end =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, static_cast<int>(base));
  if (end.ptr != digits.data() + digits.size()) return std::nullopt;
  if (end.ec != std::errc()) ctx.fail("an integer does not fit 64 bits");
  return value;
}

Value truncated(C ctx, double value) {
  if (!(std::fabs(value) < 9.2e18)) ctx.fail("an integer does not fit 64 bits");
  return Value(static_cast<int64_t>(value));
}

Value int_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "int", {"default", "base"});
  const Value fallback = bound[0] == nullptr ? Value(int64_t{0}) : *bound[0];
  if (const auto number = number_of(value)) {
    if (!number->is_float) return Value(number->integer);
    if (std::isnan(number->real)) return fallback;
    return truncated(ctx, number->real);
  }
  if (value.text() == nullptr) return fallback;
  ctx.charge_bytes(value.text()->size());
  if (const auto integer = parse_integer(ctx, *value.text(), bound.integer(1).value_or(10)))
    return Value(*integer);
  const auto real = parse_float(*value.text());
  return real && std::isfinite(*real) ? truncated(ctx, *real) : fallback;
}

Value float_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "float", {"default"});
  if (const auto number = number_of(value)) return Value(number->real);
  if (value.text() != nullptr)
    if (const auto real = parse_float(*value.text())) return Value(*real);
  return bound[0] == nullptr ? Value(0.0) : *bound[0];
}

Value round_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "round", {"precision", "method"});
  const auto number = number_of(value);
  const int64_t precision = bound.integer(0).value_or(0);
  const std::string method = bound.text_or(1, "common");
  if (!number) ctx.fail("round: {} is no number", type_name(value));
  if (precision < -300 || precision > 300) ctx.fail("round: the precision is out of range");
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return Value(std::ceil(number->real * scale) / scale);
  if (method == "floor") return Value(std::floor(number->real * scale) / scale);
  if (method != "common") ctx.fail("round: the method must be common, ceil or floor");
  if (!number->is_float && precision >= 0) return Value(number->integer);
  if (precision < 0) {
    const double rounded = std::nearbyint(number->real * scale) / scale;
    return number->is_float ? Value(rounded) : truncated(ctx, rounded);
  }
  // The decimal digits of the exact value, rounded once.
  return Value(std::strtod(fmt::format("{:.{}f}", number->real, precision).c_str(), nullptr));
}

Value abs_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "abs", {});
  const auto number = number_of(value);
  if (!number) ctx.fail("abs: {} is no number", type_name(value));
  if (number->is_float) return Value(std::fabs(number->real));
  return number->integer < 0 ? negate(ctx, value) : Value(number->integer);
}

constexpr Filter kTextFilters[] = {{"upper", change_text<upper>},
                                   {"lower", change_text<lower>},
                                   {"title", change_text<title_filter>},
                                   {"capitalize", change_text<capitalize>},
                                   {"string", change_text<unchanged>},
                                   {"safe", change_text<unchanged>},
                                   {"escape", change_text<escape_html>},
                                   {"e", change_text<escape_html>},
                                   {"forceescape", change_text<escape_html>},
                                   {"trim", by_method<kStrip>},
                                   {"replace", replace_filter},
                                   {"indent", indent_filter},
                                   {"wordcount", wordcount_filter},
                                   {"center", center_filter},
                                   {"truncate", truncate_filter},
                                   {"format", format_filter},
                                   {"tojson", to_json}};

constexpr Filter kNumberFilters[] = {
    {"int", int_filter}, {"float", float_filter}, {"round", round_filter}, {"abs", abs_filter}};

}  // namespace

std::span<const Filter> text_filters() { return kTextFilters; }
std::span<const Filter> number_filters() { return kNumberFilters; }

const Filter* find_filter(std::string_view name) {
  for (const auto table : {text_filters(), number_filters(), sequence_filters(), selection_filters()})
    for (const Filter& filter : table)
      if (filter.name == name) return &filter;
  return nullptr;
}

}  // namespace chorus::jinja
