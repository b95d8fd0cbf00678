#include <algorithm>

#include "formats/jinja_context.h"
#include "formats/jinja_filters.h"
#include "formats/jinja_operators.h"
#include "formats/jinja_tests.h"
#include "formats/jinja_text.h"

// Filters on sequences. Where Jinja gives a generator, these give a list.
namespace chorus::jinja {

Value by_path(Context& ctx, const Value& value, const Value& path) {
  if (path.text() == nullptr) return get_item(ctx, value, path);
  Value out = value;
  for (const std::string_view part : split(*path.text(), ".", SIZE_MAX)) {
    ctx.charge(1);
    const bool digits =
        !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string_view::npos;
    out =
        get_item(ctx, out, digits ? Value(int64_t{std::stoll(std::string(part))}) : Value(std::string(part)));
  }
  return out;
}

namespace {

using A = const Args&;
using C = Context&;
using V = const Value&;

Value length_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "length", {});
  return Value(static_cast<int64_t>(length_of(ctx, value)));
}

Value join_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "join", {"d", "attribute"});
  const std::string separator = bound[0] == nullptr ? "" : to_text(ctx, *bound[0]);
  const bool by_attribute = bound[1] != nullptr && !bound[1]->is<None>();
  const ListPtr items = iterate(ctx, value);
  std::string out;
  for (size_t i = 0; i < items->items.size(); ++i) {
    if (i > 0) ctx.write(out, separator);
    ctx.write(out, to_text(ctx, by_attribute ? by_path(ctx, items->items[i], *bound[1]) : items->items[i]));
  }
  return Value(std::move(out));
}

Value default_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "default", {"default_value", "boolean"});
  const bool keep = !value.is<Undefined>() && (!bound.flag(1) || truthy(value));
  if (keep) return value;
  return bound[0] == nullptr ? ctx.text({}) : *bound[0];
}

Value first_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "first", {});
  const ListPtr items = iterate(ctx, value);
  return items->items.empty() ? Value() : items->items.front();
}

Value last_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "last", {});
  const ListPtr items = iterate(ctx, value);
  return items->items.empty() ? Value() : items->items.back();
}

Value list_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "list", {});
  const ListPtr items = iterate(ctx, value);
  return items->tuple ? ctx.list(items->items) : Value(items);
}

Value reverse_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "reverse", {});
  const ListPtr items = iterate(ctx, value);
  std::vector<Value> reversed(items->items.rbegin(), items->items.rend());
  if (value.text() == nullptr) return ctx.list(std::move(reversed));
  std::string out;
  for (const Value& c : reversed) out += *c.text();
  return ctx.text(std::move(out));
}

Value items_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "items", {});
  if (value.is<Undefined>()) return ctx.list({});
  const DictPtr* dict = value.get<DictPtr>();
  if (dict == nullptr) ctx.fail("items: {} is not a mapping", type_name(value));
  std::vector<Value> items;
  for (const auto& [key, item] : (*dict)->entries) items.push_back(ctx.list({key, item}, true));
  return ctx.list(std::move(items));
}

// What a value sorts by: strings without case unless asked.
Value sort_key(C ctx, V value, bool with_case) {
  return value.text() == nullptr || with_case ? value : ctx.text(lower(to_text(ctx, value)));
}

// The values' keys by "a,b.c" or none, as tuples where there are several.
Value attribute_key(C ctx, V value, const Value* attribute, bool with_case) {
  if (attribute == nullptr || attribute->is<None>()) return sort_key(ctx, value, with_case);
  if (attribute->text() == nullptr) return sort_key(ctx, by_path(ctx, value, *attribute), with_case);
  std::vector<Value> keys;
  for (const std::string_view part : split(*attribute->text(), ",", SIZE_MAX))
    keys.push_back(sort_key(ctx, by_path(ctx, value, Value(std::string(part))), with_case));
  return ctx.list(std::move(keys));
}

using Keyed = std::vector<std::pair<Value, Value>>;

// Python's sort: stable, in reverse too.
void sort_keyed(C ctx, Keyed& keyed, bool reverse) {
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reverse ? less(ctx, b.first, a.first) : less(ctx, a.first, b.first);
  });
}

Value values_of(C ctx, Keyed keyed) {
  std::vector<Value> out;
  for (auto& entry : keyed) out.push_back(std::move(entry.second));
  return ctx.list(std::move(out));
}

Value sort_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "sort", {"reverse", "case_sensitive", "attribute"});
  Keyed keyed;
  const ListPtr items = iterate(ctx, value);
  for (const Value& item : items->items)
    keyed.emplace_back(attribute_key(ctx, item, bound[2], bound.flag(1)), item);
  sort_keyed(ctx, keyed, bound.flag(0));
  return values_of(ctx, std::move(keyed));
}

Value dictsort_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "dictsort", {"case_sensitive", "by", "reverse"});
  const std::string by = bound.text_or(1, "key");
  if (by != "key" && by != "value") ctx.fail("dictsort: 'by' must be key or value");
  const DictPtr* dict = value.get<DictPtr>();
  if (dict == nullptr) ctx.fail("dictsort: {} is not a mapping", type_name(value));
  Keyed keyed;
  for (const auto& [key, item] : (*dict)->entries)
    keyed.emplace_back(sort_key(ctx, by == "key" ? key : item, bound.flag(0)), ctx.list({key, item}, true));
  sort_keyed(ctx, keyed, bound.flag(2));
  return values_of(ctx, std::move(keyed));
}

Value unique_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "unique", {"case_sensitive", "attribute"});
  Dict seen;
  std::vector<Value> out;
  const ListPtr items = iterate(ctx, value);
  for (const Value& item : items->items) {
    const Value by = bound[1] == nullptr || bound[1]->is<None>() ? item : by_path(ctx, item, *bound[1]);
    Value key = sort_key(ctx, by, bound.flag(0));
    if (find_key(ctx, seen, key) != nullptr) continue;
    seen.entries.emplace_back(std::move(key), Value(None{}));
    out.push_back(item);
  }
  return ctx.list(std::move(out));
}

template <bool greatest>
Value extreme_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, greatest ? "max" : "min", {"case_sensitive", "attribute"});
  const ListPtr items = iterate(ctx, value);
  const Value* best = nullptr;
  Value best_key;
  for (const Value& item : items->items) {
    const Value by = bound[1] == nullptr || bound[1]->is<None>() ? item : by_path(ctx, item, *bound[1]);
    Value key = sort_key(ctx, by, bound.flag(0));
    if (best != nullptr && !(greatest ? less(ctx, best_key, key) : less(ctx, key, best_key))) continue;
    best = &item;
    best_key = std::move(key);
  }
  return best == nullptr ? Value() : *best;
}

Value sum_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "sum", {"attribute", "start"});
  Value total = bound[1] == nullptr ? Value(int64_t{0}) : *bound[1];
  if (total.text() != nullptr) ctx.fail("sum: strings cannot be summed; use join");
  const ListPtr items = iterate(ctx, value);
  for (const Value& item : items->items) {
    const bool whole = bound[0] == nullptr || bound[0]->is<None>();
    total = arithmetic(ctx, BinaryOp::kAdd, total, whole ? item : by_path(ctx, item, *bound[0]));
  }
  return total;
}

Value batch_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "batch", {"linecount", "fill_with"}, 1);
  const int64_t size = bound.integer(0).value_or(0);
  if (size <= 0) ctx.fail("batch: the size must be at least 1");
  const ListPtr items = iterate(ctx, value);
  std::vector<Value> out;
  std::vector<Value> row;
  for (const Value& item : items->items) {
    row.push_back(item);
    if (static_cast<int64_t>(row.size()) < size) continue;
    out.push_back(ctx.list(std::move(row)));
    row = {};
  }
  if (!row.empty()) {
    const auto missing = static_cast<size_t>(size) - row.size();
    if (bound[1] != nullptr && !bound[1]->is<None>()) {
      ctx.charge(missing);
      row.insert(row.end(), missing, *bound[1]);
    }
    out.push_back(ctx.list(std::move(row)));
  }
  return ctx.list(std::move(out));
}

Value slice_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "slice", {"slices", "fill_with"}, 1);
  const int64_t slices = bound.integer(0).value_or(0);
  if (slices <= 0) ctx.fail("slice: the number of slices must be at least 1");
  const ListPtr items = iterate(ctx, value);
  ctx.charge(static_cast<size_t>(slices));
  const auto n = static_cast<size_t>(slices);
  const size_t each = items->items.size() / n;
  const size_t longer = items->items.size() % n;
  std::vector<Value> out;
  auto next = items->items.begin();
  for (size_t i = 0; i < n; ++i) {
    const auto end = next + static_cast<ptrdiff_t>(each + (i < longer ? 1 : 0));
    std::vector<Value> row(next, end);
    next = end;
    if (bound[1] != nullptr && !bound[1]->is<None>() && i >= longer) row.push_back(*bound[1]);
    out.push_back(ctx.list(std::move(row)));
  }
  return ctx.list(std::move(out));
}

Value groupby_filter(C ctx, V value, A args) {
  const Bound bound(ctx, args, "groupby", {"attribute", "default", "case_sensitive"}, 1);
  Keyed keyed;
  const ListPtr items = iterate(ctx, value);
  for (const Value& item : items->items) {
    Value key = by_path(ctx, item, *bound[0]);
    if (key.is<Undefined>() && bound[1] != nullptr) key = *bound[1];
    keyed.emplace_back(sort_key(ctx, key, bound.flag(2)), item);
  }
  sort_keyed(ctx, keyed, false);
  std::vector<Value> out;
  for (size_t i = 0; i < keyed.size();) {
    std::vector<Value> group;
    const Value key = keyed[i].first;
    Value shown = by_path(ctx, keyed[i].second, *bound[0]);
    if (shown.is<Undefined>() && bound[1] != nullptr) shown = *bound[1];
    for (; i < keyed.size() && equal(ctx, keyed[i].first, key); ++i) group.push_back(keyed[i].second);
    out.push_back(ctx.list({shown, ctx.list(std::move(group))}, true));
    if (group.empty() && i < keyed.size() && !equal(ctx, key, key)) ++i;  // NaN equals nothing
  }
  return ctx.list(std::move(out));
}

Args without_first(const Args& args, size_t n) {
  Args rest;
  rest.named = args.named;
  rest.positional.assign(args.positional.begin() + static_cast<ptrdiff_t>(n), args.positional.end());
  return rest;
}

Value map_filter(C ctx, V value, A args) {
  const NestingGuard guard(ctx);  // map('map', ...)
  if (!truthy(value)) return ctx.list({});
  const ListPtr items = iterate(ctx, value);
  std::vector<Value> out;
  if (args.positional.empty()) {
    const Bound bound(ctx, args, "map", {"attribute", "default"}, 1);
    for (const Value& item : items->items) {
      Value found = by_path(ctx, item, *bound[0]);
      if (found.is<Undefined>() && bound[1] != nullptr) found = *bound[1];
      out.push_back(std::move(found));
    }
    return ctx.list(std::move(out));
  }
  const std::string* name = args.positional[0].text();
  const Filter* filter = name == nullptr ? nullptr : find_filter(*name);
  if (filter == nullptr) ctx.fail("map: no such filter");
  const Args rest = without_first(args, 1);
  for (const Value& item : items->items) {
    ctx.charge(1);
    out.push_back(filter->apply(ctx, item, rest));
  }
  return ctx.list(std::move(out));
}

// Jinja asks for the value's truth first, so none gives nothing and is no error. select, reject and their
// forms that test an attribute: (attribute, test, test's arguments).
template <bool keep, bool by_attribute>
Value select_filter(C ctx, V value, A args) {
  constexpr size_t kSkip = by_attribute ? 1 : 0;
  if (!truthy(value)) return ctx.list({});
  if (args.positional.size() < kSkip) ctx.fail("selectattr and rejectattr need an attribute");
  const Test* test = nullptr;
  Args rest;
  if (args.positional.size() > kSkip) {
    const std::string* name = args.positional[kSkip].text();
    test = name == nullptr ? nullptr : find_test(*name);
    if (test == nullptr) ctx.fail("no such test");
    rest = without_first(args, kSkip + 1);
  }
  const ListPtr items = iterate(ctx, value);
  std::vector<Value> out;
  for (const Value& item : items->items) {
    ctx.charge(1);
    const Value subject = by_attribute ? by_path(ctx, item, args.positional[0]) : item;
    const bool holds = test == nullptr ? truthy(subject) : test->holds(ctx, subject, rest);
    if (holds == keep) out.push_back(item);
  }
  return ctx.list(std::move(out));
}

constexpr Filter kSequenceFilters[] = {
    {"length", length_filter},   {"count", length_filter},       {"join", join_filter},
    {"default", default_filter}, {"d", default_filter},          {"first", first_filter},
    {"last", last_filter},       {"list", list_filter},          {"reverse", reverse_filter},
    {"items", items_filter},     {"sort", sort_filter},          {"dictsort", dictsort_filter},
    {"unique", unique_filter},   {"min", extreme_filter<false>}, {"max", extreme_filter<true>},
    {"sum", sum_filter},         {"batch", batch_filter},        {"slice", slice_filter},
    {"groupby", groupby_filter}};

constexpr Filter kSelectionFilters[] = {{"map", map_filter},
                                        {"select", select_filter<true, false>},
                                        {"reject", select_filter<false, false>},
                                        {"selectattr", select_filter<true, true>},
                                        {"rejectattr", select_filter<false, true>}};

}  // namespace

std::span<const Filter> sequence_filters() { return kSequenceFilters; }
std::span<const Filter> selection_filters() { return kSelectionFilters; }

}  // namespace chorus::jinja
