#include "formats/jinja_tests.h"

#include "formats/jinja_context.h"
#include "formats/jinja_filters.h"
#include "formats/jinja_operators.h"
#include "formats/jinja_text.h"

namespace chorus::jinja {
namespace {

template <CompareOp op>
bool compares(Context& ctx, const Value& value, const Args& args) {
  const Bound bound(ctx, args, "test", {"other"}, 1);
  return compare(ctx, op, value, *bound[0]);
}

int64_t integer_modulo(Context& ctx, const Value& value, int64_t divisor) {
  const Value rest = arithmetic(ctx, BinaryOp::kModulo, value, Value(divisor));
  const auto number = number_of(rest);
  if (!number) ctx.fail("{} cannot be divided", type_name(value));
  return number->is_float ? (number->real == 0 ? 0 : number->real == 1 ? 1 : 2) : number->integer;
}

bool is_divisible(Context& ctx, const Value& value, const Args& args) {
  const Bound bound(ctx, args, "divisibleby", {"num"}, 1);
  return integer_modulo(ctx, value, bound.integer(0).value_or(0)) == 0;
}

bool same(Context& ctx, const Value& value, const Args& args) {
  const Bound bound(ctx, args, "sameas", {"other"}, 1);
  const Value& other = *bound[0];
  if (value.data.index() != other.data.index()) return false;
  if (const ListPtr* list = value.get<ListPtr>()) return *list == *other.get<ListPtr>();
  if (const DictPtr* dict = value.get<DictPtr>()) return *dict == *other.get<DictPtr>();
  return equal(ctx, value, other);
}

bool is_sequence(const Value& v) {
  return v.is<StringPtr>() || v.is<ListPtr>() || v.is<DictPtr>() || v.is<Undefined>();
}

// str.islower() and str.isupper(): there is a letter with case, and none of the other case.
bool has_case(Context& ctx, const Value& value, bool lower_case) {
  const std::string text = to_text(ctx, value);
  const std::string low = lower(text);
  const std::string high = upper(text);
  return text == (lower_case ? low : high) && low != high;
}

bool number_is(const Value& v, bool want_integer) {
  return want_integer ? v.is<int64_t>() : number_of(v).has_value();
}

using A = const Args&;
using C = Context&;
using V = const Value&;

constexpr Test kTests[] = {
    {"defined", [](C, V v, A) { return !v.is<Undefined>(); }},
    {"undefined", [](C, V v, A) { return v.is<Undefined>(); }},
    {"none", [](C, V v, A) { return v.is<None>(); }},
    {"boolean", [](C, V v, A) { return v.is<bool>(); }},
    {"true", [](C, V v, A) { return v.is<bool>() && *v.get<bool>(); }},
    {"false", [](C, V v, A) { return v.is<bool>() && !*v.get<bool>(); }},
    {"integer", [](C, V v, A) { return number_is(v, true); }},
    {"number", [](C, V v, A) { return number_is(v, false); }},
    {"float", [](C, V v, A) { return v.is<double>(); }},
    {"string", [](C, V v, A) { return v.is<StringPtr>(); }},
    {"mapping", [](C, V v, A) { return v.is<DictPtr>(); }},
    {"sequence", [](C, V v, A) { return is_sequence(v); }},
    {"iterable", [](C, V v, A) { return is_sequence(v) || v.is<LoopPtr>(); }},
    {"callable", [](C, V v, A) { return v.is<CallablePtr>() || v.is<LoopPtr>() || v.is<Undefined>(); }},
    {"lower", [](C c, V v, A) { return has_case(c, v, true); }},
    {"upper", [](C c, V v, A) { return has_case(c, v, false); }},
    {"odd", [](C c, V v, A) { return integer_modulo(c, v, 2) == 1; }},
    {"even", [](C c, V v, A) { return integer_modulo(c, v, 2) == 0; }},
    {"divisibleby", is_divisible},
    {"sameas", same},
    {"eq", compares<CompareOp::kEqual>},
    {"==", compares<CompareOp::kEqual>},
    {"equalto", compares<CompareOp::kEqual>},
    {"ne", compares<CompareOp::kNotEqual>},
    {"!=", compares<CompareOp::kNotEqual>},
    {"lt", compares<CompareOp::kLess>},
    {"<", compares<CompareOp::kLess>},
    {"lessthan", compares<CompareOp::kLess>},
    {"le", compares<CompareOp::kLessEqual>},
    {"<=", compares<CompareOp::kLessEqual>},
    {"gt", compares<CompareOp::kGreater>},
    {">", compares<CompareOp::kGreater>},
    {"greaterthan", compares<CompareOp::kGreater>},
    {"ge", compares<CompareOp::kGreaterEqual>},
    {">=", compares<CompareOp::kGreaterEqual>},
    {"in", compares<CompareOp::kIn>},
    {"filter", [](C, V v, A) { return v.text() != nullptr && find_filter(*v.text()) != nullptr; }},
    {"test", [](C, V v, A) { return v.text() != nullptr && find_test(*v.text()) != nullptr; }},
};

}  // namespace

const Test* find_test(std::string_view name) {
  for (const Test& test : kTests)
    if (test.name == name) return &test;
  return nullptr;
}

}  // namespace chorus::jinja
