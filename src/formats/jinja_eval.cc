#include "formats/jinja_eval.h"

#include "formats/jinja_filters.h"
#include "formats/jinja_operators.h"
#include "formats/jinja_tests.h"

namespace chorus::jinja {
namespace {

template <typename... Visitors>
struct Overloaded : Visitors... {
  using Visitors::operator()...;
};
template <typename... Visitors>
Overloaded(Visitors...) -> Overloaded<Visitors...>;

}  // namespace

Value Evaluator::eval(const Expr& expr, const ScopePtr& scope) {
  const NestingGuard guard(ctx_);
  ctx_.charge(1);
  ctx_.line = expr.line;
  return std::visit(
      Overloaded{[&](const Literal& node) { return node.value; },
                 [&](const Name& node) { return eval_name(node, *scope); },
                 [&](const Sequence& node) { return eval_sequence(node, scope); },
                 [&](const DictLiteral& node) { return eval_dict(node, scope); },
                 [&](const Unary& node) { return eval_unary(node, scope); },
                 [&](const Arithmetic& node) { return eval_arithmetic(node, scope); },
                 [&](const Concat& node) { return eval_concat(node, scope); },
                 [&](const Logic& node) { return eval_logic(node, scope); },
                 [&](const Comparison& node) { return eval_comparison(node, scope); },
                 [&](const Conditional& node) { return eval_conditional(node, scope); },
                 [&](const Postfix& node) { return apply(eval(*node.base, scope), node.suffixes, scope); }},
      expr.node);
}

Value Evaluator::eval_name(const Name& name, const Scope& scope) {
  for (const Scope* s = &scope; s != nullptr; s = s->parent.get()) {
    const auto found = s->variables.find(name.name);
    if (found != s->variables.end()) return found->second;
  }
  return Value(Undefined{std::make_shared<const std::string>(fmt::format("'{}' is undefined", name.name))});
}

Value Evaluator::eval_sequence(const Sequence& node, const ScopePtr& scope) {
  std::vector<Value> items;
  items.reserve(node.items.size());
  for (const ExprPtr& item : node.items) items.push_back(eval(*item, scope));
  return ctx_.list(std::move(items), node.tuple);
}

Value Evaluator::eval_dict(const DictLiteral& node, const ScopePtr& scope) {
  Dict dict;
  for (const auto& [key_node, value_node] : node.entries) {
    Value key = eval(*key_node, scope);
    put_key(ctx_, dict, std::move(key), eval(*value_node, scope));
  }
  return ctx_.dict(std::move(dict));
}

Value Evaluator::eval_unary(const Unary& node, const ScopePtr& scope) {
  const Value value = eval(*node.operand, scope);
  if (node.op == UnaryOp::kNot) return Value(!truthy(value));
  return node.op == UnaryOp::kNegate ? negate(ctx_, value) : positive(ctx_, value);
}

Value Evaluator::eval_arithmetic(const Arithmetic& node, const ScopePtr& scope) {
  Value value = eval(*node.first, scope);
  for (const auto& [op, operand] : node.rest) value = arithmetic(ctx_, op, value, eval(*operand, scope));
  return value;
}

Value Evaluator::eval_concat(const Concat& node, const ScopePtr& scope) {
  std::string out;
  for (const ExprPtr& item : node.items) ctx_.write(out, to_text(ctx_, eval(*item, scope)));
  return Value(std::move(out));
}

Value Evaluator::eval_logic(const Logic& node, const ScopePtr& scope) {
  Value value;
  for (const ExprPtr& item : node.items) {
    value = eval(*item, scope);
    if (truthy(value) != node.is_and) break;
  }
  return value;
}

Value Evaluator::eval_comparison(const Comparison& node, const ScopePtr& scope) {
  Value left = eval(*node.first, scope);
  for (const auto& [op, operand] : node.rest) {
    Value right = eval(*operand, scope);
    if (!compare(ctx_, op, left, right)) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Value Evaluator::eval_conditional(const Conditional& node, const ScopePtr& scope) {
  if (truthy(eval(*node.test, scope))) return eval(*node.value, scope);
  if (node.otherwise) return eval(*node.otherwise, scope);
  return Value();
}

// `caller` is what {% call %} hands to the call that ends the chain.
Value Evaluator::apply(Value value, const std::vector<Suffix>& suffixes, const ScopePtr& scope,
                       const CallablePtr& caller) {
  for (const Suffix& suffix : suffixes) {
    ctx_.charge(1);
    value = apply_one(value, suffix, scope, &suffix == &suffixes.back() ? caller : nullptr);
  }
  return value;
}

Value Evaluator::apply_one(const Value& value, const Suffix& suffix, const ScopePtr& scope,
                           const CallablePtr& caller) {
  if (const auto* attribute = std::get_if<AttributeSuffix>(&suffix.part))
    return get_attribute(ctx_, value, attribute->name);
  if (const auto* subscript = std::get_if<SubscriptSuffix>(&suffix.part))
    return get_item(ctx_, value, eval(*subscript->key, scope));
  if (const auto* slice = std::get_if<SliceSuffix>(&suffix.part)) return apply_slice(value, *slice, scope);
  if (const auto* call_node = std::get_if<CallSuffix>(&suffix.part)) {
    Args args = eval_arguments(call_node->arguments, scope);
    if (caller) args.named.emplace_back("caller", Value(caller));
    ctx_.line = suffix.line;
    return call(value, args);
  }
  if (const auto* node = std::get_if<FilterSuffix>(&suffix.part)) {
    const Args args = eval_arguments(node->arguments, scope);
    ctx_.line = suffix.line;
    if (node->filter == nullptr) ctx_.fail("no filter is named '{}'", node->name);
    return node->filter->apply(ctx_, value, args);
  }
  const TestSuffix& node = std::get<TestSuffix>(suffix.part);
  const Args args = eval_arguments(node.arguments, scope);
  ctx_.line = suffix.line;
  if (node.test == nullptr) ctx_.fail("no test is named '{}'", node.name);
  return Value(node.test->holds(ctx_, value, args) != node.negated);
}

Value Evaluator::apply_slice(const Value& value, const SliceSuffix& node, const ScopePtr& scope) {
  std::optional<int64_t> bounds[3];
  const ExprPtr* nodes[3] = {&node.start, &node.stop, &node.step};
  for (size_t i = 0; i < 3; ++i) {
    if (!*nodes[i]) continue;
    const Value bound = eval(**nodes[i], scope);
    if (bound.is<None>()) continue;
    const auto number = number_of(bound);
    if (!number || number->is_float)
      ctx_.fail("a slice's bound is {}; it must be an integer", type_name(bound));
    bounds[i] = number->integer;
  }
  return slice(ctx_, value, bounds[0], bounds[1], bounds[2]);
}

Args Evaluator::eval_arguments(const CallArguments& arguments, const ScopePtr& scope) {
  Args args;
  for (const CallArgument& argument : arguments) {
    Value value = eval(*argument.value, scope);
    switch (argument.kind) {
      case CallArgument::Kind::kPositional:
        args.positional.push_back(std::move(value));
        break;
      case CallArgument::Kind::kNamed:
        args.named.emplace_back(argument.name, std::move(value));
        break;
      case CallArgument::Kind::kList: {
        const ListPtr items = iterate(ctx_, value);
        ctx_.charge(items->items.size());
        args.positional.insert(args.positional.end(), items->items.begin(), items->items.end());
        break;
      }
      case CallArgument::Kind::kDict: {
        const DictPtr* dict = value.get<DictPtr>();
        if (dict == nullptr) ctx_.fail("** needs a dict, not {}", type_name(value));
        for (const auto& [key, item] : (*dict)->entries) {
          if (key.text() == nullptr) ctx_.fail("the names of arguments must be strings");
          ctx_.charge_bytes(key.text()->size());
          args.named.emplace_back(*key.text(), item);
        }
      }
    }
  }
  return args;
}

Value Evaluator::call(const Value& callee, const Args& args) {
  if (const CallablePtr* callable = callee.get<CallablePtr>()) {
    if ((*callable)->native != nullptr) return (*callable)->native(ctx_, **callable, args);
    return call_macro(**callable, args);
  }
  if (const LoopPtr* loop = callee.get<LoopPtr>()) return call_loop(**loop, args);
  if (callee.is<Undefined>()) ctx_.raise(undefined_reason(callee));
  ctx_.fail("{} cannot be called", type_name(callee));
}

}  // namespace chorus::jinja
