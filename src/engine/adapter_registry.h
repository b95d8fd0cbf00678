#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/adapter_loader.h"
#include "engine/request.h"

namespace chorus {

// One part of "elf@0.7+villain@0.3".
struct MixPart {
  std::string name;
  float scale = 1;
};

// Whether an adapter is called so.
using IsAdapter = std::function<bool(std::string_view name)>;

// Parses NAME[@SCALE][+NAME[@SCALE]]... An adapter may be called NAME@STEP: where one is, that goes before
// NAME with a scale. Error: an empty or invalid name, a scale that is no number, a name that occurs twice.
std::vector<MixPart> parse_mix(std::string_view text, const IsAdapter& is_adapter = {});

struct AdapterInfo {
  std::string name;
  AdapterForm form = AdapterForm::kExact;
  size_t bytes = 0;
  std::optional<double> divergence;   // of the int8 form, where it was tried
  std::vector<std::string> warnings;  // see base_warnings()
};

// The adapters of a model name or mix, and what comes with them.
struct AdapterSelection {
  std::vector<AdapterUse> uses;  // empty: the base
  std::shared_ptr<const ChatTemplate>
      chat_template;  // of an adapter that is alone and has its own; else null
};

// Adapters by name. Thread-safe. A request holds the handles it began with: replacing or removing a name
// changes nothing for it.
class AdapterRegistry {
 public:
  // `base_names` name the base itself ("base", the model's own name): a mix of just that is no adapter.
  // Without a probe every adapter keeps its exact form.
  AdapterRegistry(const ModelConfig& config, std::vector<std::string> base_names, DivergenceProbe probe = {},
                  AdapterBase base = {}, const Model* model = nullptr)
      : loader_(config, std::move(base_names), std::move(probe), std::move(base), model) {}

  const AdapterLoader& loader() const { return loader_; }

  // Loads and then publishes in one go; a name that exists is replaced. Error: the name or the adapter is not
  // valid (see AdapterLoader); what was there stays.
  void load(const std::string& name, const std::string& path);
  // Loads NAME=PATH of a flag.
  void load_flag(std::string_view flag);
  // Loads every adapter in a directory (see find_adapters()).
  void load_directory(const std::string& directory);
  bool unload(const std::string& name);  // false: no such name

  std::vector<std::string> names() const;
  std::vector<AdapterInfo> infos() const;
  AdapterHandle find(const std::string& name) const;  // null: no such name
  // The adapters of a model name or mix; of the base, none. Error: an unknown name, with those that are
  // known.
  AdapterSelection select(std::string_view mix) const;
  AdapterSelection select(const std::vector<MixPart>& parts) const;
  std::vector<AdapterUse> resolve(std::string_view mix) const { return select(mix).uses; }

  struct Entry {
    LoadedAdapter loaded;
    std::string path;
  };
  // Gives all of it away and is empty then; for AdapterManager.
  std::map<std::string, Entry> take();

 private:
  const AdapterLoader loader_;
  mutable std::mutex mutex_;
  std::map<std::string, Entry> adapters_;
};

}  // namespace chorus
