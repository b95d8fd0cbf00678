#pragma once

#include <fmt/format.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "formats/chat_template.h"
#include "formats/jinja_value.h"

namespace chorus::jinja {

// Variables of a block. Names are views of the syntax tree or of the caller's variables, which outlive it.
struct Scope : std::enable_shared_from_this<Scope> {
  explicit Scope(std::shared_ptr<Scope> around) : parent(std::move(around)) {}
  std::shared_ptr<Scope> parent;
  std::map<std::string_view, Value> variables;
};
using ScopePtr = std::shared_ptr<Scope>;

// One rendering: what it may still spend, where it is, and the objects that can refer to each other in
// cycles.
class Context {
 public:
  Context(const TemplateLimits& limits, int64_t now_unix)
      : limits_(limits), fuel_(limits.fuel), now_unix_(now_unix) {}
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  void charge(size_t steps) {
    if (steps > static_cast<size_t>(fuel_)) out_of_fuel();
    fuel_ -= static_cast<int64_t>(steps);
  }
  // Bytes are cheaper than steps: copying 128 of them takes about as long as one evaluation.
  void charge_bytes(size_t bytes) { charge(bytes / 128 + 1); }

  template <typename... A>
  [[noreturn]] void fail(fmt::format_string<A...> format, A&&... args) const {
    raise(fmt::format(format, std::forward<A>(args)...));
  }
  [[noreturn]] void raise(std::string_view message) const;

  // Values, paid for.
  Value text(std::string text);
  Value list(std::vector<Value> items, bool tuple = false);
  Value dict(Dict dict);
  Value callable(Callable callable);
  Namespace* new_namespace();

  // Keeps a scope that a macro refers to until the rendering ends.
  void keep(ScopePtr scope) { kept_.push_back(std::move(scope)); }

  // Appends to a buffer of rendered text, which is never longer than the limit of the output.
  void write(std::string& out, std::string_view text);

  int line = 1;  // of the template, for messages
  int64_t now_unix() const { return now_unix_; }

  // The evaluator's own stack. One piece of template text nests at most limits.depth levels; macro calls nest
  // such pieces in each other, hence the factor.
  void enter() {
    if (++nesting_ > kNestingFactor * limits_.depth) too_deep();
  }
  void leave() { --nesting_; }

 private:
  static constexpr int kNestingFactor = 4;
  [[noreturn]] void out_of_fuel() const;
  [[noreturn]] void too_deep() const;
  int depth_over(int deepest) const;

  TemplateLimits limits_;
  int64_t fuel_;
  int64_t now_unix_;
  int nesting_ = 0;
  std::vector<std::unique_ptr<Namespace>> namespaces_;
  std::vector<ScopePtr> kept_;
};

class NestingGuard {
 public:
  explicit NestingGuard(Context& ctx) : ctx_(ctx) { ctx.enter(); }
  ~NestingGuard() { ctx_.leave(); }
  NestingGuard(const NestingGuard&) = delete;
  NestingGuard& operator=(const NestingGuard&) = delete;

 private:
  Context& ctx_;
};

}  // namespace chorus::jinja
