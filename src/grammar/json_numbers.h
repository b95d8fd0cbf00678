#pragma once

#include <optional>
#include <string>

#include "formats/json.h"
#include "grammar/grammar.h"

namespace chorus {

// Digits on either side of the point that open numbers are written with: exact in a double.
constexpr int kMaxNumberDigits = 15;

// A finite decimal number, digit by digit: [-]whole.fraction, without leading zeros of `whole` ("" is zero)
// or trailing ones of `fraction`. Zero is never negative.
struct Decimal {
  bool negative = false;
  std::string whole, fraction;
};

std::string number_text(const json::value& number);  // the shortest that reads back as the same
Decimal to_decimal(const json::value& number);
int compare(const Decimal& a, const Decimal& b);  // below 0: a < b

struct NumberBound {
  Decimal value;
  bool exclusive = false;
};
struct NumberRange {
  std::optional<NumberBound> low, high;
};
bool is_empty(const NumberRange& range);  // of all real numbers

// The least and the greatest integers of the range, within +-(10^18 - 1).
struct IntegerRange {
  std::optional<int64_t> low, high;
};
// Nothing where a bound excludes all that we write (a minimum above 10^18 - 1).
std::optional<IntegerRange> integers_within(const NumberRange& range);

// Integers within the range: where one side is open, of at most 15 digits, or 18 where the bound needs them.
ExprId integer_range(Grammar& grammar, const IntegerRange& range);
// Decimal numbers within the range, at most 15 significant digits where the bounds have no more, no
// exponents.
ExprId decimal_range(Grammar& grammar, const NumberRange& range);
// Integers >= `least` (which is 0, 1 or none) that `divisor` (1..1000) divides.
ExprId multiples(Grammar& grammar, int divisor, std::optional<int64_t> least);

}  // namespace chorus
