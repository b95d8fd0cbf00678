#include "formats/jinja_operators.h"

#include <algorithm>
#include <cmath>
#include <compare>

#include "formats/jinja_context.h"
#include "formats/jinja_format.h"
#include "formats/jinja_methods.h"
#include "formats/jinja_text.h"

namespace chorus::jinja {
namespace {

constexpr std::string_view op_name(BinaryOp op) {
  constexpr std::string_view kNames[] = {"+", "-", "*", "/", "//", "%", "**"};
  return kNames[static_cast<size_t>(op)];
}

[[noreturn]] void fail_operands(Context& ctx, std::string_view op, const Value& a, const Value& b) {
  if (a.is<Undefined>()) ctx.raise(undefined_reason(a));
  if (b.is<Undefined>()) ctx.raise(undefined_reason(b));
  ctx.fail("{} {} {} is not defined", type_name(a), op, type_name(b));
}

int64_t checked(Context& ctx, bool overflow, int64_t result) {
  if (overflow) ctx.fail("an integer does not fit 64 bits");
  return result;
}

int64_t floor_divide(int64_t a, int64_t b) {
  const int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

int64_t power(Context& ctx, int64_t base, int64_t exponent) {
  if (base == 0 || base == 1) return exponent == 0 ? 1 : base;
  if (base == -1) return exponent % 2 == 0 ? 1 : -1;
  int64_t result = 1;
  while (exponent-- > 0) {  // at most 63 rounds before it overflows
    const bool overflow = __builtin_mul_overflow(result, base, &result);
    checked(ctx, overflow, result);
  }
  return result;
}

Value integer_arithmetic(Context& ctx, BinaryOp op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case BinaryOp::kAdd:
      overflow = __builtin_add_overflow(a, b, &result);
      break;
    case BinaryOp::kSubtract:
      overflow = __builtin_sub_overflow(a, b, &result);
      break;
    case BinaryOp::kMultiply:
      overflow = __builtin_mul_overflow(a, b, &result);
      break;
    case BinaryOp::kDivide:
      if (b == 0) ctx.fail("division by zero");
      return Value(static_cast<double>(a) / static_cast<double>(b));
    case BinaryOp::kFloorDivide:
    case BinaryOp::kModulo:
      if (b == 0) ctx.fail("division by zero");
      if (b == -1) {  // INT64_MIN / -1 traps
        overflow = __builtin_sub_overflow(int64_t{0}, a, &result);
        if (op == BinaryOp::kModulo) return Value(int64_t{0});
      } else {
        result = op == BinaryOp::kModulo ? a - floor_divide(a, b) * b : floor_divide(a, b);
      }
      break;
    case BinaryOp::kPower:
      if (b < 0 && a == 0) ctx.fail("0 cannot be raised to a negative power");
      if (b < 0) return Value(std::pow(static_cast<double>(a), static_cast<double>(b)));
      return Value(power(ctx, a, b));
  }
  return Value(checked(ctx, overflow, result));
}

double float_modulo(double a, double b) {
  const double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

double float_floor_divide(double a, double b) {
  const double quotient = (a - float_modulo(a, b)) / b;
  const double whole = std::floor(quotient);
  return quotient - whole > 0.5 ? whole + 1 : whole;
}

Value float_arithmetic(Context& ctx, BinaryOp op, double a, double b) {
  const bool divides = op == BinaryOp::kDivide || op == BinaryOp::kFloorDivide || op == BinaryOp::kModulo;
  if (divides && b == 0) ctx.fail("division by zero");
  switch (op) {
    case BinaryOp::kAdd:
      return Value(a + b);
    case BinaryOp::kSubtract:
      return Value(a - b);
    case BinaryOp::kMultiply:
      return Value(a * b);
    case BinaryOp::kDivide:
      return Value(a / b);
    case BinaryOp::kFloorDivide:
      return Value(float_floor_divide(a, b));
    case BinaryOp::kModulo:
      return Value(float_modulo(a, b));
    case BinaryOp::kPower:
      break;
  }
  if (a == 0 && b < 0) ctx.fail("0 cannot be raised to a negative power");
  const double result = std::pow(a, b);
  if (std::isnan(result) && !std::isnan(a) && !std::isnan(b))
    ctx.fail("a negative number cannot be raised to a broken power");
  if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) ctx.fail("a float is too large");
  return Value(result);
}

Value repeat(Context& ctx, const Value& value, int64_t times) {
  const auto n = static_cast<size_t>(std::max<int64_t>(times, 0));
  if (const std::string* text = value.text()) {
    size_t size = 0;
    if (__builtin_mul_overflow(text->size(), n, &size)) ctx.fail("a string is too long");
    ctx.charge_bytes(size);
    std::string out;
    out.reserve(size);
    for (size_t i = 0; i < n && !text->empty(); ++i) out += *text;
    return Value(std::move(out));
  }
  const List& list = **value.get<ListPtr>();
  size_t size = 0;
  if (__builtin_mul_overflow(list.items.size(), n, &size)) ctx.fail("a list is too long");
  ctx.charge(size);
  std::vector<Value> items;
  for (size_t i = 0; i < n && !list.items.empty(); ++i)
    items.insert(items.end(), list.items.begin(), list.items.end());
  return ctx.list(std::move(items), list.tuple);
}

bool repeatable(const Value& value) { return value.is<StringPtr>() || value.is<ListPtr>(); }

std::optional<Value> add_sequences(Context& ctx, const Value& a, const Value& b) {
  if (a.text() != nullptr && b.text() != nullptr) {
    ctx.charge_bytes(a.text()->size() + b.text()->size());
    return Value(*a.text() + *b.text());
  }
  const ListPtr* left = a.get<ListPtr>();
  const ListPtr* right = b.get<ListPtr>();
  if (left == nullptr || right == nullptr || (*left)->tuple != (*right)->tuple) return std::nullopt;
  ctx.charge((*left)->items.size() + (*right)->items.size());
  std::vector<Value> items = (*left)->items;
  items.insert(items.end(), (*right)->items.begin(), (*right)->items.end());
  return ctx.list(std::move(items), (*left)->tuple);
}

std::optional<std::partial_ordering> order_lists(Context& ctx, const List& a, const List& b);

// Nothing where Python would raise TypeError.
std::optional<std::partial_ordering> order(Context& ctx, const Value& a, const Value& b) {
  const auto left = number_of(a);
  const auto right = number_of(b);
  if (left && right) {
    if (!left->is_float && !right->is_float) return left->integer <=> right->integer;
    // 64 bits of mantissa hold either kind exactly.
    const long double x = left->is_float ? left->real : static_cast<long double>(left->integer);
    const long double y = right->is_float ? right->real : static_cast<long double>(right->integer);
    return x <=> y;
  }
  if (a.text() != nullptr && b.text() != nullptr) {
    ctx.charge_bytes(std::min(a.text()->size(), b.text()->size()));
    return *a.text() <=> *b.text();  // UTF-8 sorts as its code points do
  }
  const ListPtr* list = a.get<ListPtr>();
  const ListPtr* other = b.get<ListPtr>();
  if (list != nullptr && other != nullptr && (*list)->tuple == (*other)->tuple)
    return order_lists(ctx, **list, **other);
  return std::nullopt;
}

std::optional<std::partial_ordering> order_lists(Context& ctx, const List& a, const List& b) {
  for (size_t i = 0; i < std::min(a.items.size(), b.items.size()); ++i) {
    ctx.charge(1);
    if (!equal(ctx, a.items[i], b.items[i])) return order(ctx, a.items[i], b.items[i]);
  }
  return a.items.size() <=> b.items.size();
}

bool equal_lists(Context& ctx, const List& a, const List& b) {
  if (a.tuple != b.tuple || a.items.size() != b.items.size()) return false;
  for (size_t i = 0; i < a.items.size(); ++i)
    if (!equal(ctx, a.items[i], b.items[i])) return false;
  return true;
}

bool equal_dicts(Context& ctx, const Dict& a, const Dict& b) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    const Value* other = find_key(ctx, b, key);
    if (other == nullptr || !equal(ctx, value, *other)) return false;
  }
  return true;
}

// The item of a list or string at a Python index, if there is one.
std::optional<Value> item_at(Context& ctx, const Value& value, int64_t index) {
  const auto size = static_cast<int64_t>(length_of(ctx, value));
  if (index < 0) index += size;
  if (index < 0 || index >= size) return std::nullopt;
  const auto i = static_cast<size_t>(index);
  if (const ListPtr* list = value.get<ListPtr>()) return (*list)->items[i];
  const std::string& text = *value.text();
  const size_t begin = char_offset(text, i);
  return Value(text.substr(begin, decode_utf8(std::string_view(text).substr(begin)).length));
}

std::optional<Value> find_item(Context& ctx, const Value& value, const Value& key) {
  if (const DictPtr* dict = value.get<DictPtr>()) {
    if (key.is<DictPtr>() || (key.is<ListPtr>() && !(*key.get<ListPtr>())->tuple)) return std::nullopt;
    const Value* found = find_key(ctx, **dict, key);
    return found == nullptr ? std::nullopt : std::optional(*found);
  }
  if (value.is<ListPtr>() || value.is<StringPtr>()) {
    const auto index = number_of(key);
    return index && !index->is_float ? item_at(ctx, value, index->integer) : std::nullopt;
  }
  return std::nullopt;
}

Value missing(Context& ctx, const Value& value, std::string_view name) {
  ctx.charge(1);
  return Value(Undefined{
      std::make_shared<const std::string>(fmt::format("{} has no '{}'", type_name(value), printable(name)))});
}

}  // namespace

std::string undefined_reason(const Value& value) {
  const Undefined* undefined = value.get<Undefined>();
  return undefined == nullptr || undefined->why == nullptr ? "an undefined value is used" : *undefined->why;
}

Value arithmetic(Context& ctx, BinaryOp op, const Value& a, const Value& b) {
  const auto left = number_of(a);
  const auto right = number_of(b);
  if (left && right) {
    if (left->is_float || right->is_float) return float_arithmetic(ctx, op, left->real, right->real);
    return integer_arithmetic(ctx, op, left->integer, right->integer);
  }
  if (op == BinaryOp::kAdd)
    if (auto sum = add_sequences(ctx, a, b)) return *std::move(sum);
  if (op == BinaryOp::kMultiply && repeatable(a) && right && !right->is_float)
    return repeat(ctx, a, right->integer);
  if (op == BinaryOp::kMultiply && repeatable(b) && left && !left->is_float)
    return repeat(ctx, b, left->integer);
  if (op == BinaryOp::kModulo && a.text() != nullptr && !b.is<Undefined>())
    return format_percent(ctx, *a.text(), b);
  fail_operands(ctx, op_name(op), a, b);
}

Value negate(Context& ctx, const Value& value) {
  const auto number = number_of(value);
  if (!number) fail_operands(ctx, "-", Value(int64_t{0}), value);
  if (number->is_float) return Value(-number->real);
  return integer_arithmetic(ctx, BinaryOp::kSubtract, 0, number->integer);
}

Value positive(Context& ctx, const Value& value) {
  const auto number = number_of(value);
  if (!number) fail_operands(ctx, "+", Value(int64_t{0}), value);
  return number->is_float ? value : Value(number->integer);
}

bool equal(Context& ctx, const Value& a, const Value& b) {
  ctx.charge(1);
  if (const ListPtr* list = a.get<ListPtr>()) {
    const ListPtr* other = b.get<ListPtr>();
    return other != nullptr && equal_lists(ctx, **list, **other);
  }
  if (const DictPtr* dict = a.get<DictPtr>()) {
    const DictPtr* other = b.get<DictPtr>();
    return other != nullptr && equal_dicts(ctx, **dict, **other);
  }
  if (number_of(a) && number_of(b)) return *order(ctx, a, b) == 0;
  if (a.data.index() != b.data.index()) return false;
  if (const std::string* text = a.text()) {
    if (text->size() != b.text()->size()) return false;
    ctx.charge_bytes(text->size());
    return *text == *b.text();
  }
  if (a.is<Undefined>() || a.is<None>()) return true;
  if (a.is<Namespace*>()) return *a.get<Namespace*>() == *b.get<Namespace*>();
  if (a.is<CallablePtr>()) return *a.get<CallablePtr>() == *b.get<CallablePtr>();
  return *a.get<LoopPtr>() == *b.get<LoopPtr>();
}

bool contains(Context& ctx, const Value& container, const Value& item) {
  if (const std::string* text = container.text()) {
    if (item.text() == nullptr) fail_operands(ctx, "in", item, container);
    ctx.charge_bytes(text->size() + item.text()->size());
    return text->find(*item.text()) != std::string::npos;
  }
  if (const DictPtr* dict = container.get<DictPtr>()) return find_key(ctx, **dict, item) != nullptr;
  const ListPtr* list = container.get<ListPtr>();
  if (list == nullptr && !container.is<Undefined>()) fail_operands(ctx, "in", item, container);
  if (list == nullptr) return false;
  for (const Value& candidate : (*list)->items)
    if (equal(ctx, candidate, item)) return true;
  return false;
}

bool compare(Context& ctx, CompareOp op, const Value& a, const Value& b) {
  if (op == CompareOp::kEqual) return equal(ctx, a, b);
  if (op == CompareOp::kNotEqual) return !equal(ctx, a, b);
  if (op == CompareOp::kIn) return contains(ctx, b, a);
  if (op == CompareOp::kNotIn) return !contains(ctx, b, a);
  const auto result = order(ctx, a, b);
  if (!result) fail_operands(ctx, "<", a, b);
  switch (op) {
    case CompareOp::kLess:
      return *result < 0;
    case CompareOp::kLessEqual:
      return *result <= 0;
    case CompareOp::kGreater:
      return *result > 0;
    default:
      return *result >= 0;
  }
}

Value get_attribute(Context& ctx, const Value& value, const std::string& name) {
  if (value.is<Undefined>()) ctx.raise(undefined_reason(value));
  if (auto attribute = native_attribute(ctx, value, name)) return *std::move(attribute);
  if (const DictPtr* dict = value.get<DictPtr>())
    if (const Value* found = find_key(ctx, **dict, Value(name))) return *found;
  return missing(ctx, value, name);
}

Value get_item(Context& ctx, const Value& value, const Value& key) {
  if (value.is<Undefined>()) ctx.raise(undefined_reason(value));
  if (auto item = find_item(ctx, value, key)) return *std::move(item);
  if (const std::string* name = key.text())
    if (auto attribute = native_attribute(ctx, value, *name)) return *std::move(attribute);
  return missing(ctx, value, key.text() != nullptr ? *key.text() : to_text(ctx, key));
}

Value slice(Context& ctx, const Value& value, std::optional<int64_t> start, std::optional<int64_t> stop,
            std::optional<int64_t> step) {
  if (value.is<Undefined>()) ctx.raise(undefined_reason(value));
  // Jinja's subscript of something that cannot be sliced is undefined.
  if (!value.is<ListPtr>() && !value.is<StringPtr>()) return missing(ctx, value, "[:]");
  const int64_t by = step.value_or(1);
  if (by == 0) ctx.fail("a slice's step is 0");
  const auto size = static_cast<int64_t>(length_of(ctx, value));
  const int64_t low = by > 0 ? 0 : -1;
  const int64_t high = by > 0 ? size : size - 1;
  const auto place = [&](std::optional<int64_t> index, int64_t otherwise) {
    if (!index) return otherwise;
    return std::clamp(*index < 0 ? *index + size : *index, low, high);
  };
  const int64_t begin = place(start, by > 0 ? 0 : size - 1);
  const int64_t end = place(stop, by > 0 ? size : -1);
  const std::string* text = value.text();
  if (text != nullptr && by == 1) {
    const size_t from = char_offset(*text, static_cast<size_t>(begin));
    const size_t to = char_offset(*text, static_cast<size_t>(std::max(begin, end)));
    return ctx.text(text->substr(from, to - from));
  }
  const ListPtr sequence = iterate(ctx, value);
  const std::vector<Value>& items = sequence->items;
  std::vector<Value> out;
  for (int64_t i = begin; by > 0 ? i < end : i > end;) {
    out.push_back(items[static_cast<size_t>(i)]);
    if (__builtin_add_overflow(i, by, &i)) break;
  }
  if (text == nullptr) return ctx.list(std::move(out), (*value.get<ListPtr>())->tuple);
  std::string joined;
  for (const Value& c : out) joined += *c.text();
  return ctx.text(std::move(joined));
}

}  // namespace chorus::jinja
