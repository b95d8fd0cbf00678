#include "grammar/json_numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>
#include <vector>

namespace chorus {
namespace {

constexpr int64_t kMaxOpen = 999'999'999'999'999, kMaxInteger = 999'999'999'999'999'999;

ExprId digit_range(Grammar& g, char low, char high) {
  if (low == high) return g.literal(std::string(1, low));
  return g.char_class({{static_cast<uint32_t>(low), static_cast<uint32_t>(high)}});
}

ExprId any_digits(Grammar& g, size_t min, size_t max) {
  return g.repeat(g.char_class({{'0', '9'}}), static_cast<int>(min), static_cast<int>(max));
}

// Numbers of as many digits as both bounds have, low <= high.
ExprId same_length(Grammar& g, std::string_view low, std::string_view high) {
  if (low.find_first_not_of('0') == low.npos && high.find_first_not_of('9') == high.npos)
    return any_digits(g, low.size(), low.size());
  if (low[0] == high[0])
    return g.sequence({digit_range(g, low[0], low[0]), same_length(g, low.substr(1), high.substr(1))});
  const size_t rest = low.size() - 1;
  char first = low[0], last = high[0];
  std::vector<ExprId> choices;
  if (low.substr(1).find_first_not_of('0') != low.npos) {
    choices.push_back(
        g.sequence({digit_range(g, first, first), same_length(g, low.substr(1), std::string(rest, '9'))}));
    ++first;
  }
  if (high.substr(1).find_first_not_of('9') != high.npos) {
    choices.push_back(
        g.sequence({digit_range(g, last, last), same_length(g, std::string(rest, '0'), high.substr(1))}));
    --last;
  }
  if (first <= last) choices.push_back(g.sequence({digit_range(g, first, last), any_digits(g, rest, rest)}));
  return g.choice(std::move(choices));
}

// 0 <= low <= high, without leading zeros.
ExprId natural_range(Grammar& g, int64_t low, int64_t high) {
  const std::string first = fmt::format("{}", low), last = fmt::format("{}", high);
  std::vector<ExprId> choices;
  for (size_t digits = first.size(); digits <= last.size(); ++digits) {
    std::string from = digits == 1 ? "0" : "1" + std::string(digits - 1, '0'), to(digits, '9');
    if (digits == first.size()) from = first;
    if (digits == last.size()) to = last;
    if (digits == 1 && from == "0" && to != "0" && last.size() > 1) {
      choices.push_back(g.literal("0"));  // apart, so that the others share their first digits
      from = "1";
    }
    choices.push_back(same_length(g, from, to));
  }
  return g.choice(std::move(choices));
}

// A bound on the digits behind those already written, which equal its own so far.
struct Tight {
  std::string_view digits;
  bool exclusive = false;
};

// The digits that may follow; `left`: how many at most; `may_end`: whether here, too.
ExprId fraction_digits(Grammar& g, std::optional<Tight> low, std::optional<Tight> high, int left,
                       bool may_end) {
  if (!low && !high) return any_digits(g, may_end ? 0 : 1, static_cast<size_t>(left));
  std::vector<ExprId> choices;
  const bool end_fits = (!low || (low->digits.empty() && !low->exclusive)) &&
                        (!high || !high->digits.empty() || !high->exclusive);
  if (may_end && end_fits) choices.push_back(g.literal(""));
  if (left > 0) {
    const char from = !low ? '0' : low->digits.empty() ? '0' : low->digits[0];
    const char to = !high ? '9' : high->digits.empty() ? '0' : high->digits[0];
    const auto behind = [](const std::optional<Tight>& bound) {
      return Tight{bound->digits.substr(bound->digits.empty() ? 0 : 1), bound->exclusive};
    };
    char free_from = '0', free_to = '9';
    if (low) free_from = static_cast<char>(from + 1);
    if (high) free_to = static_cast<char>(to - 1);
    const auto tight = [&](char digit, bool at_low, bool at_high) {
      const ExprId rest =
          fraction_digits(g, at_low ? std::optional(behind(low)) : std::nullopt,
                          at_high ? std::optional(behind(high)) : std::nullopt, left - 1, true);
      choices.push_back(g.sequence({digit_range(g, digit, digit), rest}));
    };
    if (low && high && from == to) {
      tight(from, true, true);
    } else {
      if (low && from <= to) tight(from, true, false);
      if (high && from <= to) tight(to, false, true);
    }
    if (free_from <= free_to) {
      choices.push_back(
          g.sequence({digit_range(g, free_from, free_to), any_digits(g, 0, static_cast<size_t>(left - 1))}));
    }
  }
  return g.choice(std::move(choices));
}

// What may follow a whole part that equals the bounds' own.
ExprId fraction(Grammar& g, std::optional<Tight> low, std::optional<Tight> high, int digits) {
  const bool none_fits = (!low || (low->digits.empty() && !low->exclusive)) &&
                         (!high || !high->digits.empty() || !high->exclusive);
  std::vector<ExprId> choices;
  if (none_fits) choices.push_back(g.literal(""));
  if (digits > 0)
    choices.push_back(g.sequence({g.literal("."), fraction_digits(g, low, high, digits, false)}));
  return g.choice(std::move(choices));
}

int64_t whole_of(const Decimal& value) {
  if (value.whole.size() > kMaxNumberDigits) return kMaxOpen + 1;
  return value.whole.empty() ? 0 : std::strtoll(value.whole.c_str(), nullptr, 10);
}

// Numbers that are not negative.
ExprId magnitudes(Grammar& g, const std::optional<NumberBound>& low, const std::optional<NumberBound>& high) {
  const int64_t low_whole = low ? whole_of(low->value) : 0;
  int64_t high_whole = high ? whole_of(high->value) : 0;
  if (low_whole > kMaxOpen) return g.choice({});
  const bool open = !high || high_whole > kMaxOpen;
  if (open) high_whole = low_whole > 999'999'998 ? kMaxOpen : 999'999'999;
  const int digits = std::max(0, kMaxNumberDigits - static_cast<int>(fmt::formatted_size("{}", high_whole)));
  const auto low_tight = low ? std::optional(Tight{low->value.fraction, low->exclusive}) : std::nullopt;
  const auto high_tight = open ? std::nullopt : std::optional(Tight{high->value.fraction, high->exclusive});
  const auto whole = [&](int64_t value) { return g.literal(fmt::format("{}", value)); };
  std::vector<ExprId> choices;
  if (low_whole == high_whole) {
    return g.sequence({whole(low_whole), fraction(g, low_tight, high_tight, digits)});
  }
  if (low_whole > high_whole) return g.choice({});
  int64_t first = low_whole, last = high_whole;
  if (low_tight) {
    choices.push_back(g.sequence({whole(first), fraction(g, low_tight, std::nullopt, digits)}));
    ++first;
  }
  if (high_tight) {
    choices.push_back(g.sequence({whole(last), fraction(g, std::nullopt, high_tight, digits)}));
    --last;
  }
  if (first <= last)
    choices.push_back(g.sequence({natural_range(g, first, last), fraction(g, {}, {}, digits)}));
  return g.choice(std::move(choices));
}

std::optional<NumberBound> negated(const std::optional<NumberBound>& bound) {
  if (!bound) return std::nullopt;
  NumberBound result = *bound;
  result.value.negative = !result.value.negative;
  return result;
}

bool is_zero(const Decimal& value) { return value.whole.empty() && value.fraction.empty(); }

// The least integer not below the bound (for a high bound: of its negative).
std::optional<int64_t> ceiling(const NumberBound& bound) {
  const Decimal& value = bound.value;
  const int64_t beyond = value.negative ? -kMaxInteger : kMaxInteger;
  if (value.whole.size() > 18) return value.negative ? std::optional(beyond) : std::nullopt;
  int64_t whole = value.whole.empty() ? 0 : std::strtoll(value.whole.c_str(), nullptr, 10);
  if (value.negative) whole = -whole;
  if (!value.negative && !value.fraction.empty()) return whole + 1;
  return whole + (bound.exclusive && value.fraction.empty() ? 1 : 0);
}

}  // namespace

std::string number_text(const json::value& number) {
  if (number.is_int64()) return fmt::format("{}", number.get_int64());
  if (number.is_uint64()) return fmt::format("{}", number.get_uint64());
  return fmt::format("{}", number.get_double());
}

Decimal to_decimal(const json::value& number) {
  std::string text = number_text(number);
  Decimal result;
  if (text.starts_with('-')) {
    result.negative = true;
    text.erase(0, 1);
  }
  int exponent = 0;
  if (const size_t e = text.find('e'); e != text.npos) {
    exponent = std::atoi(text.c_str() + e + 1);
    text.resize(e);
  }
  const size_t point = text.find('.');
  std::string digits = text.substr(0, point);
  auto places = static_cast<int>(digits.size()) + exponent;  // of the digits, those before the point
  if (point != text.npos) digits += text.substr(point + 1);
  if (places < 0) digits.insert(0, static_cast<size_t>(-places), '0');
  places = std::max(places, 0);
  if (digits.size() < static_cast<size_t>(places)) digits.resize(static_cast<size_t>(places), '0');
  result.whole = digits.substr(0, static_cast<size_t>(places));
  result.fraction = digits.substr(static_cast<size_t>(places));
  result.whole.erase(0, std::min(result.whole.find_first_not_of('0'), result.whole.size()));
  result.fraction.resize(result.fraction.find_last_not_of('0') + 1);  // npos + 1 is 0
  if (is_zero(result)) result.negative = false;
  return result;
}

int compare(const Decimal& a, const Decimal& b) {
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  int order = 0;
  if (a.whole.size() != b.whole.size()) {
    order = a.whole.size() < b.whole.size() ? -1 : 1;
  } else {
    order = a.whole.compare(b.whole);
    if (order == 0) order = a.fraction.compare(b.fraction);
  }
  return a.negative ? -order : order;
}

bool is_empty(const NumberRange& range) {
  if (!range.low || !range.high) return false;
  const int order = compare(range.low->value, range.high->value);
  return order > 0 || (order == 0 && (range.low->exclusive || range.high->exclusive));
}

std::optional<IntegerRange> integers_within(const NumberRange& range) {
  IntegerRange result;
  if (range.low) {
    result.low = ceiling(*range.low);
    if (!result.low) return std::nullopt;
  }
  if (range.high) {
    const std::optional<int64_t> high = ceiling(*negated(range.high));
    if (!high) return std::nullopt;
    result.high = -*high;
  }
  return result;
}

ExprId integer_range(Grammar& grammar, const IntegerRange& range) {
  const int64_t low = range.low                               ? *range.low
                      : range.high && *range.high < -kMaxOpen ? -kMaxInteger
                                                              : -kMaxOpen;
  const int64_t high = range.high ? *range.high : range.low && *range.low > kMaxOpen ? kMaxInteger : kMaxOpen;
  std::vector<ExprId> choices;
  if (std::max<int64_t>(low, 0) <= high)
    choices.push_back(natural_range(grammar, std::max<int64_t>(low, 0), high));
  if (low <= std::min<int64_t>(high, -1)) {
    choices.push_back(
        grammar.sequence({grammar.literal("-"), natural_range(grammar, -std::min<int64_t>(high, -1), -low)}));
  }
  return grammar.choice(std::move(choices));
}

ExprId decimal_range(Grammar& grammar, const NumberRange& range) {
  if (is_empty(range)) return grammar.choice({});
  const NumberBound zero{};
  std::vector<ExprId> choices;
  if (!range.high || !range.high->value.negative) {
    const bool from_zero = !range.low || range.low->value.negative;
    choices.push_back(magnitudes(grammar, from_zero ? zero : range.low, range.high));
  }
  if (!range.low || range.low->value.negative) {
    const bool to_zero = !range.high || !range.high->value.negative;
    const NumberBound below_zero{{}, true};
    choices.push_back(grammar.sequence(
        {grammar.literal("-"),
         magnitudes(grammar, to_zero ? below_zero : negated(range.high), negated(range.low))}));
  }
  return grammar.choice(std::move(choices));
}

ExprId multiples(Grammar& grammar, int divisor, std::optional<int64_t> least) {
  std::vector<RuleId> remainders;
  for (int i = 0; i < divisor; ++i) remainders.push_back(grammar.add_rule(fmt::format("remainder-{}", i)));
  const auto digit = [&](int remainder, int value) {
    const auto next = static_cast<size_t>((remainder * 10 + value) % divisor);
    return grammar.sequence({grammar.literal(std::string(1, static_cast<char>('0' + value))),
                             grammar.reference(remainders[next])});
  };
  for (int i = 0; i < divisor; ++i) {
    std::vector<ExprId> choices;
    if (i == 0) choices.push_back(grammar.literal(""));
    for (int value = 0; value <= 9; ++value) choices.push_back(digit(i, value));
    grammar.define(remainders[static_cast<size_t>(i)], grammar.choice(std::move(choices)));
  }
  std::vector<ExprId> first;
  for (int value = 1; value <= 9; ++value) first.push_back(digit(0, value));
  const ExprId positive = grammar.choice(std::move(first));
  std::vector<ExprId> choices;
  if (!least || *least == 0) choices.push_back(grammar.literal("0"));
  choices.push_back(least ? positive : grammar.sequence({grammar.optional(grammar.literal("-")), positive}));
  return grammar.choice(std::move(choices));
}

}  // namespace chorus
