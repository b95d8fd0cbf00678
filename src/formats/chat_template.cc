#include "formats/chat_template.h"

#include "formats/jinja_eval.h"
#include "formats/jinja_globals.h"
#include "formats/jinja_parser.h"

namespace chorus {
namespace {

// The longest templates of known models have 30 KiB.
constexpr size_t kLongestSource = 256 << 10;

jinja::Value to_value(jinja::Context& ctx, const json::value& value, int depth) {
  using jinja::Value;
  if (depth > jinja::kMaxValueDepth)
    ctx.fail("a variable is nested more than {} levels deep", jinja::kMaxValueDepth);
  switch (value.kind()) {
    case json::kind::null:
      return Value(jinja::None{});
    case json::kind::bool_:
      return Value(value.get_bool());
    case json::kind::int64:
      return Value(value.get_int64());
    case json::kind::uint64:
      if (value.get_uint64() > INT64_MAX) ctx.fail("an integer of a variable does not fit 64 bits");
      return Value(static_cast<int64_t>(value.get_uint64()));
    case json::kind::double_:
      return Value(value.get_double());
    case json::kind::string:
      return Value(std::string(value.get_string()));
    case json::kind::array: {
      auto list = std::make_shared<jinja::List>();
      for (const json::value& item : value.get_array()) {
        list->items.push_back(to_value(ctx, item, depth + 1));
        list->depth = std::max(list->depth, jinja::depth_of(list->items.back()) + 1);
      }
      return Value(jinja::ListPtr(std::move(list)));
    }
    case json::kind::object:
      break;
  }
  auto dict = std::make_shared<jinja::Dict>();
  for (const auto& [key, item] : value.get_object()) {
    dict->entries.emplace_back(Value(std::string(key)), to_value(ctx, item, depth + 1));
    dict->depth = std::max(dict->depth, jinja::depth_of(dict->entries.back().second) + 1);
  }
  return Value(jinja::DictPtr(std::move(dict)));
}

}  // namespace

struct ChatTemplate::Impl {
  std::string source;
  TemplateLimits limits;
  jinja::Block body;
};

ChatTemplate::ChatTemplate(std::string_view source, TemplateLimits limits) {
  if (source.size() > kLongestSource)
    fail("chat template: {} bytes; at most {} are accepted", source.size(), kLongestSource);
  impl_ = std::make_unique<const Impl>(
      Impl{std::string(source), limits, jinja::parse_template(source, limits.depth)});
}

ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

std::string ChatTemplate::render(const json::object& variables, int64_t now_unix) const {
  jinja::Context ctx(impl_->limits, now_unix);
  const auto globals = std::make_shared<jinja::Scope>(nullptr);
  jinja::define_globals(ctx, *globals);
  for (const auto& [name, value] : variables)
    globals->variables.insert_or_assign(std::string_view(name.data(), name.size()), to_value(ctx, value, 0));
  std::string out;
  jinja::Evaluator(ctx).render(impl_->body, std::make_shared<jinja::Scope>(globals), out);
  return out;
}

const std::string& ChatTemplate::source() const { return impl_->source; }

}  // namespace chorus
