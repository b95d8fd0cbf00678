#include "formats/jinja_value.h"

#include "formats/jinja_context.h"
#include "formats/jinja_operators.h"
#include "formats/jinja_text.h"

namespace chorus::jinja {
namespace {

void append_repr(Context& ctx, std::string& out, const Value& value, int depth);

void append_items(Context& ctx, std::string& out, const List& list, int depth) {
  out += list.tuple ? '(' : '[';
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out += ", ";
    append_repr(ctx, out, list.items[i], depth);
  }
  if (list.tuple && list.items.size() == 1) out += ',';
  out += list.tuple ? ')' : ']';
}

void append_repr(Context& ctx, std::string& out, const Value& value, int depth) {
  // A namespace may hold itself.
  if (depth > kMaxValueDepth) ctx.fail("a value is nested more than {} levels deep", kMaxValueDepth);
  const size_t before = out.size();
  if (const std::string* text = value.text()) {
    out += quoted(*text);
  } else if (const ListPtr* list = value.get<ListPtr>()) {
    append_items(ctx, out, **list, depth + 1);
  } else if (const DictPtr* dict = value.get<DictPtr>()) {
    out += '{';
    bool first = true;
    for (const auto& [key, item] : (*dict)->entries) {
      if (!first) out += ", ";
      first = false;
      append_repr(ctx, out, key, depth + 1);
      out += ": ";
      append_repr(ctx, out, item, depth + 1);
    }
    out += '}';
  } else if (Namespace* const* names = value.get<Namespace*>()) {
    out += "<Namespace {";
    bool first = true;
    for (const auto& [key, item] : (*names)->attributes) {
      if (!first) out += ", ";
      first = false;
      out += quoted(key) + ": ";
      append_repr(ctx, out, item, depth + 1);
    }
    out += "}>";
  } else if (value.is<Undefined>()) {
    out += "Undefined";
  } else {
    out += to_text(ctx, value);
  }
  ctx.charge_bytes(out.size() - before);
}

}  // namespace

std::optional<Number> number_of(const Value& value) {
  if (const bool* b = value.get<bool>()) return Number{false, *b, *b ? 1.0 : 0.0};
  if (const int64_t* i = value.get<int64_t>()) return Number{false, *i, static_cast<double>(*i)};
  if (const double* d = value.get<double>()) return Number{true, 0, *d};
  return std::nullopt;
}

bool truthy(const Value& value) {
  if (const auto number = number_of(value)) return number->real != 0;  // NaN is true, as in Python
  if (const std::string* text = value.text()) return !text->empty();
  if (const ListPtr* list = value.get<ListPtr>()) return !(*list)->items.empty();
  if (const DictPtr* dict = value.get<DictPtr>()) return !(*dict)->entries.empty();
  return !value.is<Undefined>() && !value.is<None>();
}

std::string_view type_name(const Value& value) {
  static constexpr std::string_view kNames[] = {"undefined",   "none",       "a boolean", "an integer",
                                                "a float",     "a string",   "a list",    "a dict",
                                                "a namespace", "a function", "a loop"};
  if (const ListPtr* list = value.get<ListPtr>(); list != nullptr && (*list)->tuple) return "a tuple";
  return kNames[value.data.index()];
}

int depth_of(const Value& value) {
  if (const ListPtr* list = value.get<ListPtr>()) return (*list)->depth;
  if (const DictPtr* dict = value.get<DictPtr>()) return (*dict)->depth;
  if (const CallablePtr* callable = value.get<CallablePtr>()) return (*callable)->depth;
  if (const LoopPtr* loop = value.get<LoopPtr>()) return (*loop)->depth;
  return 0;
}

std::string to_text(Context& ctx, const Value& value) {
  if (const std::string* text = value.text()) {
    ctx.charge_bytes(text->size());
    return *text;
  }
  if (value.is<Undefined>()) return "";
  if (value.is<None>()) return "None";
  if (const bool* boolean = value.get<bool>()) return *boolean ? "True" : "False";
  if (const int64_t* integer = value.get<int64_t>()) return fmt::format("{}", *integer);
  if (const double* real = value.get<double>()) return float_text(*real);
  if (const CallablePtr* callable = value.get<CallablePtr>()) return fmt::format("<{}>", (*callable)->name);
  if (value.is<LoopPtr>()) return "<loop>";
  return to_repr(ctx, value);
}

std::string to_repr(Context& ctx, const Value& value) {
  std::string out;
  append_repr(ctx, out, value, 0);
  return out;
}

ListPtr iterate(Context& ctx, const Value& value) {
  std::vector<Value> items;
  if (const ListPtr* list = value.get<ListPtr>()) {
    ctx.charge(1);
    return *list;
  }
  if (const DictPtr* dict = value.get<DictPtr>()) {
    for (const auto& entry : (*dict)->entries) items.push_back(entry.first);
  } else if (const std::string* text = value.text()) {
    ctx.charge(text->size());
    for (const std::string_view c : chars(*text)) items.emplace_back(std::string(c));
  } else if (const LoopPtr* loop = value.get<LoopPtr>()) {
    return (*loop)->items;
  } else if (!value.is<Undefined>()) {
    ctx.fail("{} cannot be iterated over", type_name(value));
  }
  return *ctx.list(std::move(items)).get<ListPtr>();
}

size_t length_of(Context& ctx, const Value& value) {
  if (const ListPtr* list = value.get<ListPtr>()) return (*list)->items.size();
  if (const DictPtr* dict = value.get<DictPtr>()) return (*dict)->entries.size();
  if (const LoopPtr* loop = value.get<LoopPtr>()) return (*loop)->items->items.size();
  if (value.is<Undefined>()) return 0;
  const std::string* text = value.text();
  if (text == nullptr) ctx.fail("{} has no length", type_name(value));
  ctx.charge_bytes(text->size());
  return char_count(*text);
}

const Value* find_key(Context& ctx, const Dict& dict, const Value& key) {
  if (key.is<DictPtr>() || (key.is<ListPtr>() && !(*key.get<ListPtr>())->tuple))
    ctx.fail("{} cannot be the key of a dict", type_name(key));
  ctx.charge(dict.entries.size() / 16 + 1);
  for (const auto& [candidate, value] : dict.entries)
    if (candidate.data.index() == key.data.index() || (number_of(candidate) && number_of(key)))
      if (equal(ctx, candidate, key)) return &value;
  return nullptr;
}

void put_key(Context& ctx, Dict& dict, Value key, Value value) {
  if (const Value* old = find_key(ctx, dict, key))
    *const_cast<Value*>(old) = std::move(value);
  else
    dict.entries.emplace_back(std::move(key), std::move(value));
}

Bound::Bound(Context& ctx, const Args& args, std::string_view function,
             std::initializer_list<std::string_view> names, size_t required)
    : ctx_(ctx), function_(function) {
  if (args.positional.size() > names.size())
    ctx.fail("{}() takes at most {} arguments; {} given", function, names.size(), args.positional.size());
  for (size_t i = 0; i < args.positional.size(); ++i) values_[i] = &args.positional[i];
  for (const auto& [name, value] : args.named) {
    size_t i = 0;
    while (i < names.size() && names.begin()[i] != name) ++i;
    if (i == names.size()) ctx.fail("{}() has no argument '{}'", function, name);
    if (values_[i] != nullptr) ctx.fail("{}() was given '{}' twice", function, name);
    values_[i] = &value;
  }
  for (size_t i = 0; i < required; ++i)
    if (values_[i] == nullptr) ctx.fail("{}() needs the argument '{}'", function, names.begin()[i]);
}

std::optional<int64_t> Bound::integer(size_t index) const {
  if (values_[index] == nullptr || values_[index]->is<None>()) return std::nullopt;
  const auto number = number_of(*values_[index]);
  if (!number || number->is_float)
    ctx_.fail("{}(): {} where an integer belongs", function_, type_name(*values_[index]));
  return number->integer;
}

const std::string& Bound::text(size_t index) const {
  const std::string* text = values_[index] == nullptr ? nullptr : values_[index]->text();
  if (text == nullptr)
    ctx_.fail("{}(): {} where a string belongs", function_,
              values_[index] == nullptr ? "nothing" : type_name(*values_[index]));
  return *text;
}

std::string Bound::text_or(size_t index, std::string fallback) const {
  return values_[index] == nullptr ? std::move(fallback) : text(index);
}

}  // namespace chorus::jinja
