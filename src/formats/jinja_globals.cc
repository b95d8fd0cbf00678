#include "formats/jinja_globals.h"

#include "formats/jinja_format.h"

namespace chorus::jinja {
namespace {

constexpr int64_t kLongestRange = 100'000;  // the bound of Jinja's sandbox

Value make_range(Context& ctx, const Callable&, const Args& args) {
  const Bound bound(ctx, args, "range", {"start", "stop", "step"}, 1);
  for (size_t i = 0; i < 3; ++i)
    if (bound[i] != nullptr && !bound.integer(i)) ctx.fail("range(): none where an integer belongs");
  const int64_t start = bound[1] == nullptr ? 0 : *bound.integer(0);
  const int64_t stop = bound[1] == nullptr ? *bound.integer(0) : *bound.integer(1);
  const int64_t step = bound.integer(2).value_or(1);
  if (step == 0) ctx.fail("range(): the step is 0");
  std::vector<Value> items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<int64_t>(items.size()) == kLongestRange)
      ctx.fail("range(): more than {} elements", kLongestRange);
    items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return ctx.list(std::move(items));
}

// The entries of dict(mapping or pairs, name=value...).
Dict make_entries(Context& ctx, const Args& args, std::string_view function) {
  Dict dict;
  if (args.positional.size() > 1) ctx.fail("{}() takes at most 1 positional argument", function);
  if (!args.positional.empty()) {
    const Value& source = args.positional[0];
    if (const DictPtr* other = source.get<DictPtr>()) {
      ctx.charge((*other)->entries.size());
      dict.entries = (*other)->entries;
    } else {
      const ListPtr pairs = iterate(ctx, source);
      for (const Value& pair : pairs->items) {
        const ListPtr items = iterate(ctx, pair);
        if (items->items.size() != 2) ctx.fail("{}() needs pairs", function);
        put_key(ctx, dict, items->items[0], items->items[1]);
      }
    }
  }
  for (const auto& [name, value] : args.named) put_key(ctx, dict, ctx.text(name), value);
  return dict;
}

Value make_dict(Context& ctx, const Callable&, const Args& args) {
  return ctx.dict(make_entries(ctx, args, "dict"));
}

Value make_namespace(Context& ctx, const Callable&, const Args& args) {
  Namespace* names = ctx.new_namespace();
  for (auto& [key, value] : make_entries(ctx, args, "namespace").entries) {
    if (key.text() == nullptr) ctx.fail("namespace() needs names that are strings");
    if (key.text()->starts_with('_')) ctx.fail("an attribute of a namespace may not begin with '_'");
    names->attributes.insert_or_assign(*key.text(), value);
  }
  return Value(names);
}

// The first call gives "", each later one the separator.
Value call_joiner(Context& ctx, const Callable& self, const Args& args) {
  const Bound bound(ctx, args, "joiner", {});
  return self.position++ == 0 ? ctx.text({}) : self.receiver;
}

Value make_joiner(Context& ctx, const Callable&, const Args& args) {
  const Bound bound(ctx, args, "joiner", {"sep"});
  Callable joiner;
  joiner.name = "joiner";
  joiner.native = call_joiner;
  joiner.receiver = bound[0] == nullptr ? ctx.text(", ") : *bound[0];
  return ctx.callable(std::move(joiner));
}

Value call_cycler(Context& ctx, const Callable&, const Args&) { ctx.fail("a cycler cannot be called"); }

Value make_cycler(Context& ctx, const Callable&, const Args& args) {
  if (args.positional.empty() || !args.named.empty()) ctx.fail("cycler() needs items");
  Callable cycler;
  cycler.name = "cycler";
  cycler.native = call_cycler;
  cycler.receiver = ctx.list(args.positional);
  return ctx.callable(std::move(cycler));
}

Value raise_exception(Context& ctx, const Callable&, const Args& args) {
  const Bound bound(ctx, args, "raise_exception", {"message"}, 1);
  ctx.raise(to_text(ctx, *bound[0]));
}

Value strftime_now(Context& ctx, const Callable&, const Args& args) {
  const Bound bound(ctx, args, "strftime_now", {"format"}, 1);
  return format_time(ctx, bound.text(0), ctx.now_unix());
}

}  // namespace

void define_globals(Context& ctx, Scope& scope) {
  static constexpr std::pair<std::string_view, NativeFunction> kGlobals[] = {
      {"range", make_range},         {"dict", make_dict},     {"namespace", make_namespace},
      {"joiner", make_joiner},       {"cycler", make_cycler}, {"raise_exception", raise_exception},
      {"strftime_now", strftime_now}};
  for (const auto& [name, native] : kGlobals) {
    Callable callable;
    callable.name = std::string(name);
    callable.native = native;
    scope.variables.insert_or_assign(name, ctx.callable(std::move(callable)));
  }
}

}  // namespace chorus::jinja
