#pragma once

#include <string>

#include "formats/jinja_ast.h"
#include "formats/jinja_context.h"

namespace chorus::jinja {

// Walks the tree of one template for one rendering.
class Evaluator {
 public:
  explicit Evaluator(Context& ctx) : ctx_(ctx) {}

  void render(const Block& block, const ScopePtr& scope, std::string& out) { run(block, scope, out); }

 private:
  enum class Flow { kNext, kBreak, kContinue };

  // Statements (jinja_exec.cc).
  Flow run(const Block& block, const ScopePtr& scope, std::string& out);
  Flow step(const Statement& statement, const ScopePtr& scope, std::string& out);
  Flow run_if(const If& node, const ScopePtr& scope, std::string& out);
  void run_for(const For& node, const Value& items, int64_t depth0, const ScopePtr& scope, std::string& out);
  ListPtr loop_items(const For& node, const Value& items, const ScopePtr& scope);
  void run_set_block(const SetBlock& node, const ScopePtr& scope);
  void run_call(const CallBlock& node, const ScopePtr& scope, std::string& out);
  Flow run_with(const With& node, const ScopePtr& scope, std::string& out);
  Flow run_filter_block(const FilterBlock& node, const ScopePtr& scope, std::string& out);
  void assign(const Target& target, const Value& value, Scope& scope);
  Value macro_value(const Macro& macro, const ScopePtr& scope);
  Value call_macro(const Callable& callable, const Args& args);
  void bind_parameters(const Macro& macro, const Args& args, const ScopePtr& scope);
  Value call_loop(Loop& loop, const Args& args);

  // Expressions (jinja_eval.cc).
  Value eval(const Expr& expr, const ScopePtr& scope);
  Value eval_name(const Name& name, const Scope& scope);
  Value eval_sequence(const Sequence& node, const ScopePtr& scope);
  Value eval_dict(const DictLiteral& node, const ScopePtr& scope);
  Value eval_unary(const Unary& node, const ScopePtr& scope);
  Value eval_arithmetic(const Arithmetic& node, const ScopePtr& scope);
  Value eval_concat(const Concat& node, const ScopePtr& scope);
  Value eval_logic(const Logic& node, const ScopePtr& scope);
  Value eval_comparison(const Comparison& node, const ScopePtr& scope);
  Value eval_conditional(const Conditional& node, const ScopePtr& scope);
  Value apply(Value value, const std::vector<Suffix>& suffixes, const ScopePtr& scope,
              const CallablePtr& caller = nullptr);
  Value apply_one(const Value& value, const Suffix& suffix, const ScopePtr& scope, const CallablePtr& caller);
  Value apply_slice(const Value& value, const SliceSuffix& node, const ScopePtr& scope);
  Args eval_arguments(const CallArguments& arguments, const ScopePtr& scope);
  Value call(const Value& callee, const Args& args);

  Context& ctx_;
};

}  // namespace chorus::jinja
