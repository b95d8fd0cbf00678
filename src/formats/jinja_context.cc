#include "formats/jinja_context.h"

#include <algorithm>

namespace chorus::jinja {

Context::~Context() {
  // Variables may hold macros, which refer to scopes: no owner among them, but clear them in a flat order so
  // that a chain of scopes is not torn down recursively.
  for (const ScopePtr& scope : kept_) scope->variables.clear();
}

void Context::raise(std::string_view message) const {
  chorus::fail("chat template: line {}: {}", line, printable(message, 400));
}

void Context::out_of_fuel() const {
  fail("the template needs more than {} evaluation steps (fuel)", limits_.fuel);
}

void Context::too_deep() const {
  fail("expressions, blocks and macro calls are nested more than {} levels deep",
       kNestingFactor * limits_.depth);
}

int Context::depth_over(int deepest) const {
  if (deepest >= kMaxValueDepth) fail("a value is nested more than {} levels deep", kMaxValueDepth);
  return deepest + 1;
}

Value Context::text(std::string text) {
  charge_bytes(text.size());
  return Value(std::move(text));
}

Value Context::list(std::vector<Value> items, bool tuple) {
  charge(items.size() + 1);
  int deepest = 0;
  for (const Value& item : items) deepest = std::max(deepest, depth_of(item));
  return Value(std::make_shared<const List>(List{std::move(items), tuple, depth_over(deepest)}));
}

Value Context::dict(Dict dict) {
  charge(dict.entries.size() + 1);
  int deepest = 0;
  for (const auto& [key, value] : dict.entries) deepest = std::max({deepest, depth_of(key), depth_of(value)});
  dict.depth = depth_over(deepest);
  return Value(std::make_shared<const Dict>(std::move(dict)));
}

Value Context::callable(Callable callable) {
  charge(1);
  callable.depth = depth_over(depth_of(callable.receiver));
  return Value(std::make_shared<const Callable>(std::move(callable)));
}

Namespace* Context::new_namespace() {
  charge(1);
  namespaces_.push_back(std::make_unique<Namespace>());
  return namespaces_.back().get();
}

void Context::write(std::string& out, std::string_view text) {
  charge_bytes(text.size());
  if (text.size() > limits_.output_bytes - out.size())
    fail("the text is longer than {} bytes", limits_.output_bytes);
  out += text;
}

}  // namespace chorus::jinja
