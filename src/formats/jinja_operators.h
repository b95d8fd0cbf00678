#pragma once

#include "formats/jinja_ast.h"
#include "formats/jinja_value.h"

// Python's operators on values.
namespace chorus::jinja {

Value arithmetic(Context& ctx, BinaryOp op, const Value& a, const Value& b);
Value negate(Context& ctx, const Value& value);
Value positive(Context& ctx, const Value& value);

bool equal(Context& ctx, const Value& a, const Value& b);
bool contains(Context& ctx, const Value& container, const Value& item);
bool compare(Context& ctx, CompareOp op, const Value& a, const Value& b);
inline bool less(Context& ctx, const Value& a, const Value& b) {
  return compare(ctx, CompareOp::kLess, a, b);
}

// a.name and a[key]: Jinja tries attribute or item first, then the other; undefined where neither is.
Value get_attribute(Context& ctx, const Value& value, const std::string& name);
Value get_item(Context& ctx, const Value& value, const Value& key);
// value[start:stop:step]; none where left out.
Value slice(Context& ctx, const Value& value, std::optional<int64_t> start, std::optional<int64_t> stop,
            std::optional<int64_t> step);

// Why an undefined value cannot be used.
std::string undefined_reason(const Value& value);

}  // namespace chorus::jinja
