#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/request.h"
#include "model/adapter_io.h"

namespace chorus {

// One part of "elf@0.7+villain@0.3".
struct MixPart {
  std::string name;
  float scale = 1;
};

// Parses NAME[@SCALE][+NAME[@SCALE]]... Error: an empty or invalid name, a scale that is no number, a name
// that occurs twice.
std::vector<MixPart> parse_mix(std::string_view text);

// How far a form of an adapter is from the exact one; see adapter_divergence().
using DivergenceProbe = std::function<double(const Adapter& exact, const Adapter& other)>;

// Above this divergence an adapter stays in its file's own type: a quarter of what the base's int8
// activations cost on SmolLM2. The int8 forms of the demo adapters are 0.000001 away.
constexpr double kMaxInt8Divergence = 0.0005;

struct AdapterInfo {
  std::string name;
  AdapterForm form = AdapterForm::kExact;
  size_t bytes = 0;
  std::optional<double> divergence;  // of the int8 form, where it was tried
};

// Adapters by name. Thread-safe. A request holds the handles it began with: replacing or removing a name
// changes nothing for it.
class AdapterRegistry {
 public:
  // `base_names` name the base itself ("base", the model's own name): a mix of just that is no adapter.
  // Without a probe every adapter keeps its exact form.
  AdapterRegistry(const ModelConfig& config, std::vector<std::string> base_names, DivergenceProbe probe = {});

  // Loads and then publishes in one go; a name that exists is replaced. The adapter becomes int8 if that is
  // smaller and the probe finds it close enough. Error: the name or the adapter is not valid; what was there
  // stays.
  void load(const std::string& name, const std::string& path);
  // Loads NAME=PATH of a flag.
  void load_flag(std::string_view flag);
  // Loads every adapter in a directory: its folders with an adapter_config.json and its *.gguf files, by
  // their names.
  void load_directory(const std::string& directory);
  bool unload(const std::string& name);  // false: no such name

  std::vector<std::string> names() const;
  std::vector<AdapterInfo> infos() const;
  AdapterHandle find(const std::string& name) const;  // null: no such name
  // The adapters of a model name or mix; empty for the base. Error: an unknown name, with those that are
  // known.
  std::vector<AdapterUse> resolve(std::string_view mix) const;

 private:
  const ModelConfig& config_;
  std::vector<std::string> base_names_;
  DivergenceProbe probe_;
  struct Entry {
    AdapterHandle adapter;
    std::optional<double> divergence;
  };
  Entry choose_form(AdapterHandle exact) const;

  mutable std::mutex mutex_;
  std::map<std::string, Entry> adapters_;
};

}  // namespace chorus
