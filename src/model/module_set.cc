#include "model/module_set.h"

#include <charconv>

#include "base/error.h"

namespace chorus {

std::string module_name(int layer, Target target) {
  if (target == Target::kHead) return "lm_head";
  return fmt::format("model.layers.{}.{}", layer, target_info(target).hf_module);
}

std::optional<ModulePlace> module_place(std::string_view name) {
  constexpr std::string_view kLayers = "model.layers.";
  if (name == "lm_head") return ModulePlace{0, Target::kHead};
  if (!name.starts_with(kLayers)) return std::nullopt;
  name.remove_prefix(kLayers.size());
  int layer = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  if (error != std::errc() || layer < 0 || layer >= kMaxLayers) return std::nullopt;
  name.remove_prefix(static_cast<size_t>(end - name.data()));
  for (int t = 0; t < kLayerTargets; ++t) {
    const auto target = static_cast<Target>(t);
    if (name == fmt::format(".{}", target_info(target).hf_module)) return ModulePlace{layer, target};
  }
  return std::nullopt;
}

Regex whole_regex(std::string_view pattern, std::string_view what) {
  return Regex(fmt::format("^(?:{})$", pattern), what);
}

bool matches_whole(const Regex& regex, std::string_view text) {
  RegexMatcher matcher(regex);
  Span match{};
  return matcher.find(text, 0, match) && match.begin == 0 && match.end == text.size();
}

ModuleSet::ModuleSet(const json::value& value, const std::string& what) : given_(true) {
  if (value.is_string()) {
    const std::string text(value.get_string());
    if (text == "all-linear") {
      all_ = true;
    } else {
      regex_ = std::make_shared<const Regex>(whole_regex(text, what));
    }
    return;
  }
  if (!value.is_array()) fail("{} must be a list of module names or a string", what);
  for (const json::value& name : value.get_array()) {
    if (!name.is_string()) fail("{} must hold strings only", what);
    names_.emplace_back(name.get_string());
  }
}

bool ModuleSet::contains(const std::string& module) const {
  if (all_) return module != "lm_head";
  if (regex_ != nullptr) return matches_whole(*regex_, module);
  for (const std::string& name : names_) {
    if (name_matches(name, module)) return true;
  }
  return false;
}

}  // namespace chorus
