#pragma once

// The modules of a base model by their Hugging Face names, and choices among them as PEFT writes them.

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json.h"
#include "formats/regex.h"
#include "model/target.h"

namespace chorus {

constexpr int kMaxLayers = 1024;

// "model.layers.3.self_attn.q_proj", or "lm_head" of the head, for which the layer does not count.
std::string module_name(int layer, Target target);

struct ModulePlace {
  int layer = 0;  // 0 of the head
  Target target = Target::kQ;
  bool operator==(const ModulePlace&) const = default;
};
// The other way round; none: no linear that an adapter can be on.
std::optional<ModulePlace> module_place(std::string_view name);

// A pattern for whole texts. Error: see Regex.
Regex whole_regex(std::string_view pattern, std::string_view what);
bool matches_whole(const Regex& regex, std::string_view text);

// A choice of modules as in PEFT's target_modules: nothing, a list of names or of their ends, a regular
// expression for whole names, or "all-linear", which is every linear but the head.
class ModuleSet {
 public:
  ModuleSet() = default;
  // Error, beginning with `what`: neither a list of strings nor a string, or no regular expression.
  ModuleSet(const json::value& value, const std::string& what);

  bool given() const { return given_; }
  bool is_list() const { return given_ && !all_ && regex_ == nullptr; }
  const std::vector<std::string>& names() const { return names_; }
  bool contains(const std::string& module) const;
  static bool name_matches(const std::string& name, const std::string& module) {
    return module == name || module.ends_with("." + name);
  }

 private:
  bool given_ = false, all_ = false;
  std::vector<std::string> names_;
  std::shared_ptr<const Regex> regex_;
};

}  // namespace chorus
