#include "formats/jinja_methods.h"

#include <algorithm>

#include "formats/jinja_context.h"
#include "formats/jinja_format.h"
#include "formats/jinja_operators.h"
#include "formats/jinja_text.h"

namespace chorus::jinja {
namespace {

struct Method {
  std::string_view name;
  NativeFunction native;
};

using A = const Args&;
using C = Context&;
using S = const Callable&;

const std::string& subject(Context& ctx, const Callable& self) {
  ctx.charge_bytes(self.receiver.text()->size());
  return *self.receiver.text();
}

Value text_list(Context& ctx, const std::vector<std::string_view>& parts, bool tuple = false) {
  ctx.charge(parts.size());
  std::vector<Value> items;
  for (const std::string_view part : parts) items.emplace_back(std::string(part));
  return ctx.list(std::move(items), tuple);
}

template <bool left, bool right>
Value strip_method(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, self.name, {"chars"});
  const std::string& text = subject(ctx, self);
  if (bound[0] == nullptr || bound[0]->is<None>())
    return ctx.text(std::string(strip(text, Ends{left, right})));
  ctx.charge_bytes(text.size() * std::min<size_t>(bound.text(0).size(), 128));
  return ctx.text(std::string(strip(text, bound.text(0), Ends{left, right})));
}

template <bool right>
Value split_method(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, self.name, {"sep", "maxsplit"});
  const std::string& text = subject(ctx, self);
  const int64_t given = bound.integer(1).value_or(-1);
  const size_t most = given < 0 ? SIZE_MAX : static_cast<size_t>(given);
  if (bound[0] == nullptr || bound[0]->is<None>()) {
    if (right && given >= 0) ctx.fail("rsplit() with a limit needs a separator");
    return text_list(ctx, split_space(text, most));
  }
  const std::string& separator = bound.text(0);
  if (separator.empty()) ctx.fail("{}(): the separator is empty", self.name);
  return text_list(ctx, right ? split_right(text, separator, most) : split(text, separator, most));
}

bool matches_end(std::string_view text, std::string_view part, bool start) {
  return start ? text.starts_with(part) : text.ends_with(part);
}

template <bool start>
Value affix_method(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, self.name, {"prefix", "start", "end"}, 1);
  Value text = self.receiver;
  if (bound[1] != nullptr || bound[2] != nullptr)
    text = slice(ctx, text, bound.integer(1), bound.integer(2), std::nullopt);
  const ListPtr* choices = bound[0]->get<ListPtr>();
  if (choices == nullptr) return Value(matches_end(*text.text(), bound.text(0), start));
  for (const Value& choice : (*choices)->items) {
    ctx.charge(1);
    if (choice.text() == nullptr) ctx.fail("{}(): {} where a string belongs", self.name, type_name(choice));
    if (matches_end(*text.text(), *choice.text(), start)) return Value(true);
  }
  return Value(false);
}

template <bool start>
Value remove_affix(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, self.name, {"affix"}, 1);
  std::string_view text = subject(ctx, self);
  if (matches_end(text, bound.text(0), start))
    start ? text.remove_prefix(bound.text(0).size()) : text.remove_suffix(bound.text(0).size());
  return ctx.text(std::string(text));
}

Value replace_method(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, "replace", {"old", "new", "count"}, 2);
  const std::string& text = subject(ctx, self);
  const int64_t given = bound.integer(2).value_or(-1);
  const size_t hits = count(text, bound.text(0));
  size_t grown = 0;
  if (__builtin_mul_overflow(hits, bound.text(1).size(), &grown)) ctx.fail("a string is too long");
  ctx.charge_bytes(grown);
  return ctx.text(
      replace(text, bound.text(0), bound.text(1), given < 0 ? SIZE_MAX : static_cast<size_t>(given)));
}

Value join_method(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, "join", {"iterable"}, 1);
  const ListPtr items = iterate(ctx, *bound[0]);
  std::string out;
  for (size_t i = 0; i < items->items.size(); ++i) {
    if (i > 0) ctx.write(out, *self.receiver.text());
    const std::string* part = items->items[i].text();
    if (part == nullptr) ctx.fail("join(): {} where a string belongs", type_name(items->items[i]));
    ctx.write(out, *part);
  }
  return Value(std::move(out));
}

template <bool right, bool required>
Value find_method(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, self.name, {"sub", "start", "end"}, 1);
  Value text = self.receiver;
  int64_t skipped = 0;
  if (bound[1] != nullptr || bound[2] != nullptr) {
    const auto size = static_cast<int64_t>(length_of(ctx, text));
    const int64_t from = bound.integer(1).value_or(0);
    skipped = std::clamp<int64_t>(from < 0 ? from + size : from, 0, size);
    text = slice(ctx, text, bound.integer(1), bound.integer(2), std::nullopt);
  }
  ctx.charge_bytes(text.text()->size());
  const size_t at = right ? text.text()->rfind(bound.text(0)) : text.text()->find(bound.text(0));
  if (at == std::string::npos && required) ctx.fail("{}(): the substring is not there", self.name);
  if (at == std::string::npos) return Value(int64_t{-1});
  return Value(skipped + static_cast<int64_t>(char_count(std::string_view(*text.text()).substr(0, at))));
}

template <bool right>
Value partition_method(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, self.name, {"sep"}, 1);
  const std::string_view text = subject(ctx, self);
  const std::string_view separator = bound.text(0);
  if (separator.empty()) ctx.fail("{}(): the separator is empty", self.name);
  const size_t at = right ? text.rfind(separator) : text.find(separator);
  if (at == std::string_view::npos)
    return right ? text_list(ctx, {"", "", text}, true) : text_list(ctx, {text, "", ""}, true);
  return text_list(ctx, {text.substr(0, at), separator, text.substr(at + separator.size())}, true);
}

enum class Pad { kLeft, kRight, kZero };

template <Pad pad>
Value pad_method(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, self.name, {"width", "fillchar"}, 1);
  std::string text = subject(ctx, self);
  const std::string fill = bound.text_or(1, pad == Pad::kZero ? "0" : " ");
  if (char_count(fill) != 1) ctx.fail("{}(): the fill must be one character", self.name);
  const int64_t missing = bound.integer(0).value_or(0) - static_cast<int64_t>(char_count(text));
  if (missing <= 0) return ctx.text(std::move(text));
  ctx.charge_bytes(static_cast<size_t>(missing));
  std::string padding;
  for (int64_t i = 0; i < missing; ++i) padding += fill;
  if (pad == Pad::kRight) return ctx.text(text + padding);
  const bool sign = pad == Pad::kZero && !text.empty() && (text[0] == '-' || text[0] == '+');
  return ctx.text(text.substr(0, sign) + padding + text.substr(sign));
}

template <std::string (*change)(std::string_view)>
Value change_method(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, self.name, {});
  return ctx.text(change(subject(ctx, self)));
}

// Whether the text is not empty and each of its characters passes.
template <bool (*passes)(uint32_t)>
Value every_method(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, self.name, {});
  const std::string& text = subject(ctx, self);
  for (const std::string_view c : chars(text))
    if (!passes(decode_utf8(c).code_point)) return Value(false);
  return Value(!text.empty());
}

bool is_digit(uint32_t c) { return c >= '0' && c <= '9'; }
bool is_alnum(uint32_t c) { return is_word(c) && c != '_'; }
bool is_alpha(uint32_t c) { return is_alnum(c) && !is_digit(c); }

template <bool lower_case>
Value case_method(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, self.name, {});
  const std::string& text = subject(ctx, self);
  const std::string low = lower(text);
  const std::string high = upper(text);
  return Value(low != high && text == (lower_case ? low : high));
}

Value split_lines_method(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, "splitlines", {"keepends"});
  return text_list(ctx, split_lines(subject(ctx, self), bound.flag(0)));
}

Value count_method(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, "count", {"sub"}, 1);
  return Value(static_cast<int64_t>(count(subject(ctx, self), bound.text(0))));
}

Value format_method(Context& ctx, const Callable& self, const Args& args) {
  return format_braces(ctx, *self.receiver.text(), args);
}

constexpr Method kTextMethods[] = {{"upper", change_method<upper>},
                                   {"lower", change_method<lower>},
                                   {"title", change_method<title>},
                                   {"capitalize", change_method<capitalize>},
                                   {"strip", strip_method<true, true>},
                                   {"lstrip", strip_method<true, false>},
                                   {"rstrip", strip_method<false, true>},
                                   {"split", split_method<false>},
                                   {"rsplit", split_method<true>},
                                   {"splitlines", split_lines_method},
                                   {"startswith", affix_method<true>},
                                   {"endswith", affix_method<false>},
                                   {"removeprefix", remove_affix<true>},
                                   {"removesuffix", remove_affix<false>},
                                   {"replace", replace_method},
                                   {"join", join_method},
                                   {"find", find_method<false, false>},
                                   {"rfind", find_method<true, false>},
                                   {"index", find_method<false, true>},
                                   {"rindex", find_method<true, true>},
                                   {"count", count_method},
                                   {"partition", partition_method<false>},
                                   {"rpartition", partition_method<true>},
                                   {"ljust", pad_method<Pad::kRight>},
                                   {"rjust", pad_method<Pad::kLeft>},
                                   {"zfill", pad_method<Pad::kZero>},
                                   {"isdigit", every_method<is_digit>},
                                   {"isdecimal", every_method<is_digit>},
                                   {"isnumeric", every_method<is_digit>},
                                   {"isalpha", every_method<is_alpha>},
                                   {"isalnum", every_method<is_alnum>},
                                   {"isspace", every_method<is_space>},
                                   {"islower", case_method<true>},
                                   {"isupper", case_method<false>},
                                   {"format", format_method}};

const Dict& dict_of(const Callable& self) { return **self.receiver.get<DictPtr>(); }

Value dict_get(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, "get", {"key", "default"}, 1);
  if (const Value* found = find_key(ctx, dict_of(self), *bound[0])) return *found;
  return bound[1] == nullptr ? Value(None{}) : *bound[1];
}

Value dict_keys(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, "keys", {});
  return Value(iterate(ctx, self.receiver));
}

Value dict_values(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, "values", {});
  std::vector<Value> items;
  for (const auto& entry : dict_of(self).entries) items.push_back(entry.second);
  return ctx.list(std::move(items));
}

Value dict_items(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, "items", {});
  std::vector<Value> items;
  for (const auto& [key, value] : dict_of(self).entries) items.push_back(ctx.list({key, value}, true));
  return ctx.list(std::move(items));
}

Value copy_method(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, "copy", {});
  return self.receiver;  // values never change, so a copy is the value
}

constexpr Method kDictMethods[] = {{"get", dict_get},
                                   {"keys", dict_keys},
                                   {"values", dict_values},
                                   {"items", dict_items},
                                   {"copy", copy_method}};

Value list_index(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, "index", {"value"}, 1);
  const std::vector<Value>& items = (*self.receiver.get<ListPtr>())->items;
  for (size_t i = 0; i < items.size(); ++i)
    if (equal(ctx, items[i], *bound[0])) return Value(static_cast<int64_t>(i));
  ctx.fail("index(): the value is not in the list");
}

Value list_count(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, "count", {"value"}, 1);
  int64_t n = 0;
  for (const Value& item : (*self.receiver.get<ListPtr>())->items) n += equal(ctx, item, *bound[0]);
  return Value(n);
}

constexpr Method kListMethods[] = {{"index", list_index}, {"count", list_count}, {"copy", copy_method}};

constexpr std::string_view kMutators[] = {"append", "extend",  "insert", "remove",     "pop",    "clear",
                                          "sort",   "reverse", "update", "setdefault", "popitem"};

Value loop_cycle(Context& ctx, const Callable& self, const Args& args) {
  if (args.positional.empty()) ctx.fail("loop.cycle() needs items");
  return args.positional[(*self.receiver.get<LoopPtr>())->index % args.positional.size()];
}

Value loop_changed(Context& ctx, const Callable& self, const Args& args) {
  Loop& loop = **self.receiver.get<LoopPtr>();
  if (!loop.running) ctx.fail("the loop has ended");
  const bool same = loop.last_changed.size() == args.positional.size() && !args.positional.empty() &&
                    std::equal(args.positional.begin(), args.positional.end(), loop.last_changed.begin(),
                               [&](const Value& a, const Value& b) { return equal(ctx, a, b); });
  if (!same) loop.last_changed = args.positional;
  return Value(!same);
}

Value cycler_next(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, "next", {});
  const Callable& cycler = **self.receiver.get<CallablePtr>();
  const std::vector<Value>& items = (*cycler.receiver.get<ListPtr>())->items;
  return items[cycler.position++ % items.size()];
}

Value cycler_reset(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, "reset", {});
  (*self.receiver.get<CallablePtr>())->position = 0;
  return Value(None{});
}

Value bind_method(Context& ctx, const Value& receiver, std::string_view name, NativeFunction native) {
  Callable callable;
  callable.name = std::string(name);
  callable.native = native;
  callable.receiver = receiver;
  return ctx.callable(std::move(callable));
}

std::optional<Value> loop_attribute(Context& ctx, const Value& value, std::string_view name) {
  const Loop& loop = **value.get<LoopPtr>();
  const std::vector<Value>& items = loop.items->items;
  const auto index = static_cast<int64_t>(loop.index);
  const auto length = static_cast<int64_t>(items.size());
  const auto integer = [](int64_t n) { return Value(n); };
  if (name == "index") return integer(index + 1);
  if (name == "index0") return integer(index);
  if (name == "revindex") return integer(length - index);
  if (name == "revindex0") return integer(length - index - 1);
  if (name == "first") return Value(index == 0);
  if (name == "last") return Value(index + 1 == length);
  if (name == "length") return integer(length);
  if (name == "depth") return integer(loop.depth0 + 1);
  if (name == "depth0") return integer(loop.depth0);
  if (name == "previtem") return index == 0 ? Value() : items[loop.index - 1];
  if (name == "nextitem") return index + 1 == length ? Value() : items[loop.index + 1];
  if (name == "cycle") return bind_method(ctx, value, name, loop_cycle);
  if (name == "changed") return bind_method(ctx, value, name, loop_changed);
  return std::nullopt;
}

std::optional<Value> callable_attribute(Context& ctx, const Value& value, std::string_view name) {
  const Callable& callable = **value.get<CallablePtr>();
  if (callable.macro != nullptr && name == "name") return Value(callable.name);
  if (callable.name != "cycler" || !callable.receiver.is<ListPtr>()) return std::nullopt;
  const std::vector<Value>& items = (*callable.receiver.get<ListPtr>())->items;
  if (name == "current") return items[callable.position % items.size()];
  if (name == "next") return bind_method(ctx, value, name, cycler_next);
  if (name == "reset") return bind_method(ctx, value, name, cycler_reset);
  return std::nullopt;
}

template <size_t n>
std::optional<Value> find_method_in(Context& ctx, const Method (&methods)[n], const Value& value,
                                    std::string_view name) {
  for (const Method& method : methods)
    if (method.name == name) return bind_method(ctx, value, name, method.native);
  return std::nullopt;
}

}  // namespace

std::optional<Value> native_attribute(Context& ctx, const Value& value, std::string_view name) {
  if (value.is<StringPtr>()) return find_method_in(ctx, kTextMethods, value, name);
  if (value.is<LoopPtr>()) return loop_attribute(ctx, value, name);
  if (value.is<CallablePtr>()) return callable_attribute(ctx, value, name);
  if (Namespace* const* names = value.get<Namespace*>()) {
    const auto found = (*names)->attributes.find(name);
    return found == (*names)->attributes.end() ? std::nullopt : std::optional(found->second);
  }
  const bool dict = value.is<DictPtr>();
  const bool list = value.is<ListPtr>() && !(*value.get<ListPtr>())->tuple;
  if (dict || value.is<ListPtr>()) {
    auto method = dict ? find_method_in(ctx, kDictMethods, value, name)
                       : find_method_in(ctx, kListMethods, value, name);
    if (method) return method;
  }
  const bool list_only = name == "append" || name == "extend" || name == "insert" || name == "remove" ||
                         name == "sort" || name == "reverse";
  const bool dict_only = name == "update" || name == "setdefault" || name == "popitem";
  const bool mutator = std::find(std::begin(kMutators), std::end(kMutators), name) != std::end(kMutators);
  if (!mutator || (!dict && !list) || (dict && list_only) || (list && dict_only)) return std::nullopt;
  return Value(Undefined{std::make_shared<const std::string>(
      fmt::format("{}() is refused: a template may not change {}", name, type_name(value)))});
}

}  // namespace chorus::jinja
