#include <algorithm>

#include "formats/jinja_eval.h"
#include "formats/jinja_operators.h"

namespace chorus::jinja {
namespace {

ScopePtr inner(const ScopePtr& scope) { return std::make_shared<Scope>(scope); }

// Ends a loop however it is left: its variable may live on, but must hold nothing that holds it.
struct LoopEnd {
  Loop& loop;
  ~LoopEnd() {
    loop.running = false;
    loop.last_changed.clear();
    loop.scope = nullptr;
  }
};

}  // namespace

Evaluator::Flow Evaluator::run(const Block& block, const ScopePtr& scope, std::string& out) {
  const NestingGuard guard(ctx_);
  for (const Statement& statement : block) {
    ctx_.charge(1);
    ctx_.line = statement.line;
    const Flow flow = step(statement, scope, out);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Evaluator::Flow Evaluator::step(const Statement& statement, const ScopePtr& scope, std::string& out) {
  if (const auto* text = std::get_if<Text>(&statement.node)) {
    ctx_.write(out, text->text);
  } else if (const auto* output = std::get_if<Output>(&statement.node)) {
    ctx_.write(out, to_text(ctx_, eval(*output->value, scope)));
  } else if (const auto* branch = std::get_if<If>(&statement.node)) {
    return run_if(*branch, scope, out);
  } else if (const auto* loop = std::get_if<For>(&statement.node)) {
    run_for(*loop, eval(*loop->items, scope), 0, scope, out);
  } else if (const auto* set = std::get_if<Set>(&statement.node)) {
    assign(set->target, eval(*set->value, scope), *scope);
  } else if (const auto* set_block = std::get_if<SetBlock>(&statement.node)) {
    run_set_block(*set_block, scope);
  } else if (const auto* macro = std::get_if<MacroBlock>(&statement.node)) {
    scope->variables.insert_or_assign(macro->macro->name, macro_value(*macro->macro, scope));
  } else if (const auto* call_block = std::get_if<CallBlock>(&statement.node)) {
    run_call(*call_block, scope, out);
  } else if (const auto* filter = std::get_if<FilterBlock>(&statement.node)) {
    return run_filter_block(*filter, scope, out);
  } else if (const auto* with = std::get_if<With>(&statement.node)) {
    return run_with(*with, scope, out);
  } else if (const auto* generation = std::get_if<Generation>(&statement.node)) {
    return run(generation->body, inner(scope), out);
  } else {
    return std::holds_alternative<Break>(statement.node) ? Flow::kBreak : Flow::kContinue;
  }
  return Flow::kNext;
}

Evaluator::Flow Evaluator::run_if(const If& node, const ScopePtr& scope, std::string& out) {
  for (const auto& [test, body] : node.branches)
    if (truthy(eval(*test, scope))) return run(body, scope, out);
  return run(node.otherwise, scope, out);
}

// The items that pass the loop's condition.
ListPtr Evaluator::loop_items(const For& node, const Value& items, const ScopePtr& scope) {
  ListPtr all = iterate(ctx_, items);
  if (!node.condition) return all;
  std::vector<Value> chosen;
  for (const Value& item : all->items) {
    const ScopePtr trial = inner(scope);
    assign(node.target, item, *trial);
    if (truthy(eval(*node.condition, trial))) chosen.push_back(item);
  }
  return *ctx_.list(std::move(chosen)).get<ListPtr>();
}

void Evaluator::run_for(const For& node, const Value& items, int64_t depth0, const ScopePtr& scope,
                        std::string& out) {
  auto loop = std::make_shared<Loop>();
  loop->items = loop_items(node, items, scope);
  loop->depth0 = depth0;
  loop->node = &node;
  loop->scope = scope.get();
  loop->depth = loop->items->depth + 1;
  if (loop->depth > kMaxValueDepth) ctx_.fail("a value is nested more than {} levels deep", kMaxValueDepth);
  if (loop->items->items.empty()) {
    run(node.otherwise, inner(scope), out);
    return;
  }
  const LoopEnd end{*loop};
  for (size_t i = 0; i < loop->items->items.size(); ++i) {
    ctx_.charge(1);
    loop->index = i;
    const ScopePtr body = inner(scope);
    body->variables.insert_or_assign("loop", Value(loop));
    assign(node.target, loop->items->items[i], *body);
    if (run(node.body, body, out) == Flow::kBreak) break;
  }
}

void Evaluator::run_set_block(const SetBlock& node, const ScopePtr& scope) {
  std::string text;
  run(node.body, inner(scope), text);
  assign(node.target, apply(ctx_.text(std::move(text)), node.filters.suffixes, scope), *scope);
}

Evaluator::Flow Evaluator::run_filter_block(const FilterBlock& node, const ScopePtr& scope,
                                            std::string& out) {
  std::string text;
  const Flow flow = run(node.body, inner(scope), text);
  ctx_.write(out, to_text(ctx_, apply(ctx_.text(std::move(text)), node.filters.suffixes, scope)));
  return flow;
}

Evaluator::Flow Evaluator::run_with(const With& node, const ScopePtr& scope, std::string& out) {
  const ScopePtr body = inner(scope);
  for (const auto& [target, value] : node.variables) assign(target, eval(*value, scope), *body);
  return run(node.body, body, out);
}

void Evaluator::run_call(const CallBlock& node, const ScopePtr& scope, std::string& out) {
  const Value caller = macro_value(*node.caller, scope);
  const Postfix& chain = std::get<Postfix>(node.call->node);
  const Value result = apply(eval(*chain.base, scope), chain.suffixes, scope, *caller.get<CallablePtr>());
  ctx_.write(out, to_text(ctx_, result));
}

void Evaluator::assign(const Target& target, const Value& value, Scope& scope) {
  if (target.tuple) {
    const ListPtr items = iterate(ctx_, value);
    if (items->items.size() != target.unpack.size())
      ctx_.fail("{} values cannot be unpacked into {} names", items->items.size(), target.unpack.size());
    for (size_t i = 0; i < target.unpack.size(); ++i) assign(target.unpack[i], items->items[i], scope);
    return;
  }
  ctx_.charge(1);
  if (target.attribute.empty()) {
    scope.variables.insert_or_assign(target.name, value);
    return;
  }
  const Value owner = eval_name(Name{target.name}, scope);
  Namespace* const* names = owner.get<Namespace*>();
  if (names == nullptr)
    ctx_.fail("'{}' is {}; only a namespace's attributes can be set", target.name, type_name(owner));
  if (target.attribute.starts_with('_')) ctx_.fail("an attribute of a namespace may not begin with '_'");
  (*names)->attributes.insert_or_assign(target.attribute, value);
}

Value Evaluator::macro_value(const Macro& macro, const ScopePtr& scope) {
  ctx_.keep(scope);
  Callable callable;
  callable.name = macro.name;
  callable.macro = &macro;
  callable.scope = scope.get();
  return ctx_.callable(std::move(callable));
}

Value Evaluator::call_macro(const Callable& callable, const Args& args) {
  const NestingGuard guard(ctx_);
  const ScopePtr body = std::make_shared<Scope>(callable.scope->shared_from_this());
  bind_parameters(*callable.macro, args, body);
  std::string text;
  run(callable.macro->body, body, text);
  return ctx_.text(std::move(text));
}

void Evaluator::bind_parameters(const Macro& macro, const Args& args, const ScopePtr& scope) {
  std::vector<Value> more;
  for (size_t i = macro.parameters.size(); i < args.positional.size(); ++i)
    more.push_back(args.positional[i]);
  if (!more.empty() && !macro.uses_varargs)
    ctx_.fail("macro '{}' takes at most {} arguments", macro.name, macro.parameters.size());
  Dict named;
  std::map<std::string_view, const Value*> given;
  for (const auto& [name, value] : args.named) given.insert_or_assign(name, &value);
  for (size_t i = 0; i < macro.parameters.size(); ++i) {
    const Parameter& parameter = macro.parameters[i];
    const auto found = given.find(parameter.name);
    if (found != given.end() && i < args.positional.size())
      ctx_.fail("macro '{}' was given '{}' twice", macro.name, parameter.name);
    ctx_.charge(1);
    Value value(Undefined{});
    if (i < args.positional.size())
      value = args.positional[i];
    else if (found != given.end())
      value = *found->second;
    else if (parameter.fallback)
      value = eval(*parameter.fallback, scope);
    if (found != given.end()) given.erase(found);
    scope->variables.insert_or_assign(parameter.name, std::move(value));
  }
  for (const auto& [name, value] : given) {
    if (name == "caller" && macro.uses_caller)
      scope->variables.insert_or_assign("caller", *value);
    else if (macro.uses_kwargs && name != "caller")
      put_key(ctx_, named, Value(std::string(name)), *value);
    else
      ctx_.fail("macro '{}' has no parameter '{}'", macro.name, name);
  }
  if (macro.uses_varargs) scope->variables.insert_or_assign("varargs", ctx_.list(std::move(more), true));
  if (macro.uses_kwargs) scope->variables.insert_or_assign("kwargs", ctx_.dict(std::move(named)));
}

// loop(items) in a recursive loop: the same loop over the children.
Value Evaluator::call_loop(Loop& loop, const Args& args) {
  if (!loop.node->recursive) ctx_.fail("the loop is not recursive");
  if (!loop.running) ctx_.fail("the loop has ended");
  const Bound bound(ctx_, args, "loop", {"items"}, 1);
  const NestingGuard guard(ctx_);
  std::string text;
  run_for(*loop.node, *bound[0], loop.depth0 + 1, loop.scope->shared_from_this(), text);
  return ctx_.text(std::move(text));
}

}  // namespace chorus::jinja
