#include "engine/adapter_loader.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/process_memory.h"
#include "engine/text_files.h"
#include "model/adapter_io.h"
#include "model/adapter_pack.h"

namespace chorus {
namespace {

bool valid_name(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= 64 && name[0] != '.' && std::ranges::all_of(name, allowed);
}

void check_rank(const AdapterFile& file, int max_rank) {
  for (const FilePair& pair : file.pairs) {
    if (pair.a->shape[0] <= static_cast<uint64_t>(max_rank)) continue;
    fail("{}: tensor {} has rank {}; at most {} is allowed here", file.path, printable(pair.a->name, 200),
         pair.a->shape[0], max_rank);
  }
}

}  // namespace

void require_adapter_name(std::string_view name) {
  if (valid_name(name)) return;
  fail("adapter name \"{}\": 1 to 64 letters, digits, '.', '_' and '-' are allowed, not beginning with '.'",
       printable(name));
}

std::vector<std::string> base_warnings(const AdapterBase& made_on, const AdapterBase& now) {
  constexpr size_t kShown = 12;
  std::vector<std::string> warnings;
  const auto compare = [&](std::string_view what, std::string_view then, std::string_view here) {
    if (then.empty() || here.empty() || then == here) return;
    warnings.push_back(fmt::format("tuned with {} {}, used with {}: its answers may be worse", what,
                                   printable(then.substr(0, kShown)), here.substr(0, kShown)));
  };
  compare("base", made_on.id, now.id);
  compare("chat template", made_on.chat_template, now.chat_template);
  return warnings;
}

AdapterLoader::AdapterLoader(const ModelConfig& config, std::vector<std::string> base_names,
                             DivergenceProbe probe, AdapterBase base, const Model* model)
    : config_(config),
      base_names_(std::move(base_names)),
      probe_(std::move(probe)),
      base_(std::move(base)),
      model_(model) {}

bool AdapterLoader::is_base(std::string_view name) const {
  return std::ranges::find(base_names_, name) != base_names_.end();
}

void AdapterLoader::require_name(std::string_view name) const {
  require_adapter_name(name);
  if (is_base(name)) fail("adapter name \"{}\" is the base's", name);
}

LoadedAdapter AdapterLoader::load(const FileRoot& root, const std::string& path,
                                  const LoadOptions& options) const {
  LoadedAdapter loaded;
  AdapterBase now = base_;
  if (root.is_directory(path)) {
    if (std::optional<ChatTemplate> own = load_chat_template(root, path)) {
      now.chat_template = template_hash(own);
      loaded.chat_template = std::make_shared<const ChatTemplate>(std::move(*own));
    }
  }
  {
    const AdapterFile file = read_adapter_file(root, path);  // its bytes are gone before the forms are made
    if (options.max_rank > 0) check_rank(file, options.max_rank);
    loaded.adapter = load_adapter(file, config_, model_);
    loaded.warnings = base_warnings(file.base, now);
  }
  choose_form(loaded, options);
  return_freed_memory();
  return loaded;
}

void AdapterLoader::choose_form(LoadedAdapter& loaded, const LoadOptions& options) const {
  if (!probe_) return;
  const AdapterVerdict* known = options.known;
  if (known != nullptr && known->id == loaded.adapter->id()) {
    loaded.divergence = known->divergence;
    if (known->form == AdapterForm::kInt8) loaded.adapter = to_int8(*loaded.adapter);
    return;
  }
  AdapterHandle int8 = to_int8(*loaded.adapter);
  if (int8->bytes() >= loaded.adapter->bytes()) return;
  loaded.divergence = probe_(*loaded.adapter, *int8, options.probe_threads);
  if (*loaded.divergence <= kMaxInt8Divergence) loaded.adapter = std::move(int8);
}

std::string_view without_step(std::string_view name) {
  const size_t at = name.rfind('@');
  if (at == std::string_view::npos || at + 1 == name.size()) return name;
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  return std::ranges::all_of(name.substr(at + 1), digit) ? name.substr(0, at) : name;
}

}  // namespace chorus
