#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

// The values of a chat template: Python's, as far as a template can tell. Containers never change once built
// (the sandbox of transformers refuses append() and the like too), so values share them freely and no cycle
// can form. What does change (namespaces, scopes) is owned by the Context of the rendering.
namespace chorus::jinja {

class Context;
struct Value;
struct List;
struct Dict;
struct Namespace;
struct Callable;
struct Loop;
struct Macro;
struct For;
struct Scope;

struct None {};
struct Undefined {
  std::shared_ptr<const std::string> why;  // null: nothing more to say
};

using StringPtr = std::shared_ptr<const std::string>;
using ListPtr = std::shared_ptr<const List>;
using DictPtr = std::shared_ptr<const Dict>;
using CallablePtr = std::shared_ptr<const Callable>;
using LoopPtr = std::shared_ptr<Loop>;

struct Value {
  std::variant<Undefined, None, bool, int64_t, double, StringPtr, ListPtr, DictPtr, Namespace*, CallablePtr,
               LoopPtr>
      data;

  Value() = default;
  explicit Value(None none) : data(none) {}
  explicit Value(Undefined undefined) : data(std::move(undefined)) {}
  explicit Value(bool boolean) : data(boolean) {}
  explicit Value(int64_t integer) : data(integer) {}
  explicit Value(double number) : data(number) {}
  explicit Value(std::string text) : data(std::make_shared<const std::string>(std::move(text))) {}
  explicit Value(ListPtr list) : data(std::move(list)) {}
  explicit Value(DictPtr dict) : data(std::move(dict)) {}
  explicit Value(Namespace* names) : data(names) {}
  explicit Value(CallablePtr callable) : data(std::move(callable)) {}
  explicit Value(LoopPtr loop) : data(std::move(loop)) {}
  explicit Value(const char*) = delete;  // would become a bool

  template <typename T>
  bool is() const {
    return std::holds_alternative<T>(data);
  }
  template <typename T>
  const T* get() const {
    return std::get_if<T>(&data);
  }
  // The text of a string, else null.
  const std::string* text() const {
    const StringPtr* string = get<StringPtr>();
    return string == nullptr ? nullptr : string->get();
  }
};

// `depth` of a container is the number of containers on its deepest path. It is bounded, so that functions
// that walk a value, its destructor among them, may recurse.
inline constexpr int kMaxValueDepth = 100;

struct List {
  std::vector<Value> items;
  bool tuple = false;
  int depth = 1;
};

struct Dict {
  std::vector<std::pair<Value, Value>> entries;  // in order of insertion
  int depth = 1;
};

struct Namespace {
  std::map<std::string, Value, std::less<>> attributes;
};

struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

using NativeFunction = Value (*)(Context&, const Callable& self, const Args&);

// A macro, a function of ours, or a method of ours bound to its receiver.
struct Callable {
  std::string name;
  NativeFunction native = nullptr;  // null for a macro
  Value receiver;
  const Macro* macro = nullptr;
  Scope* scope = nullptr;       // where the macro was defined; the Context keeps it
  mutable size_t position = 0;  // of a joiner or cycler
  int depth = 1;
};

// The `loop` variable.
struct Loop {
  ListPtr items;
  size_t index = 0;
  int64_t depth0 = 0;
  const For* node = nullptr;
  Scope* scope = nullptr;  // around the loop; valid while it runs
  bool running = true;
  std::vector<Value> last_changed;  // of loop.changed(); emptied when the loop ends, as it may hold the loop
  int depth = 1;
};

// A number as Python sees it: a bool is an integer.
struct Number {
  bool is_float = false;
  int64_t integer = 0;
  double real = 0;  // the value in either case
};

std::optional<Number> number_of(const Value& value);
bool truthy(const Value& value);
// "a string", "a list", ...: for messages.
std::string_view type_name(const Value& value);
int depth_of(const Value& value);

// str() and repr().
std::string to_text(Context& ctx, const Value& value);
std::string to_repr(Context& ctx, const Value& value);

// What a `for` over the value yields: items, keys, characters. Error: not iterable.
ListPtr iterate(Context& ctx, const Value& value);
// len(). Error: has none.
size_t length_of(Context& ctx, const Value& value);

// The value of a key, or null. Error: a key that Python cannot hash.
const Value* find_key(Context& ctx, const Dict& dict, const Value& key);
// Adds or replaces.
void put_key(Context& ctx, Dict& dict, Value key, Value value);

// The arguments of a native function by position or name, as Python binds them. Error: too many, unknown
// name, twice, or one of the first `required` missing.
class Bound {
 public:
  Bound(Context& ctx, const Args& args, std::string_view function,
        std::initializer_list<std::string_view> names, size_t required = 0);
  // Null where not given.
  const Value* operator[](size_t index) const { return values_[index]; }
  bool flag(size_t index) const { return values_[index] != nullptr && truthy(*values_[index]); }
  std::optional<int64_t> integer(size_t index) const;             // none where not given or None
  const std::string& text(size_t index) const;                    // Error: not a string
  std::string text_or(size_t index, std::string fallback) const;  // Error: given and not a string

 private:
  static constexpr size_t kMost = 6;
  Context& ctx_;
  std::string_view function_;
  const Value* values_[kMost] = {};
};

}  // namespace chorus::jinja
