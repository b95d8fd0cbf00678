#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_root.h"
#include "formats/chat_template.h"
#include "model/adapter.h"
#include "model/adapter_file.h"
#include "model/config.h"

namespace chorus {

struct Model;

// How far a form of an adapter is from the exact one (see adapter_divergence()), on that many threads; 0: as
// many as the steps have.
using DivergenceProbe = std::function<double(const Adapter& exact, const Adapter& other, int threads)>;

// Above this divergence an adapter stays in its file's own type: a quarter of what the base's int8
// activations cost on SmolLM2. The int8 forms of the demo adapters are 0.000001 away.
constexpr double kMaxInt8Divergence = 0.0005;

// What the form of an adapter's content was found to be.
struct AdapterVerdict {
  std::string id;  // of the content
  AdapterForm form = AdapterForm::kExact;
  std::optional<double> divergence;  // of the int8 form, where it was tried
};

// An adapter's files in memory.
struct LoadedAdapter {
  AdapterHandle adapter;
  std::optional<double> divergence;                   // as AdapterVerdict's
  std::shared_ptr<const ChatTemplate> chat_template;  // its own; null: it has none
  std::vector<std::string> warnings;                  // see base_warnings()
};

struct LoadOptions {
  int max_rank = 0;                       // 0: what the kernels take
  int probe_threads = 0;                  // see DivergenceProbe
  const AdapterVerdict* known = nullptr;  // for the same content it is taken on trust
};

// Makes adapters of files. Thread-safe.
class AdapterLoader {
 public:
  // `base_names` name the base itself. Without a probe every adapter keeps its exact form.
  // `base` is what adapters are compared with: see base_warnings(). `model` must outlive it; without one,
  // adapters with DoRA are refused.
  AdapterLoader(const ModelConfig& config, std::vector<std::string> base_names, DivergenceProbe probe,
                AdapterBase base = {}, const Model* model = nullptr);

  bool is_base(std::string_view name) const;
  // Error: no name for an adapter, or the base's.
  void require_name(std::string_view name) const;
  // Reads, checks, packs and probes. The adapter becomes int8 if that is smaller and the probe finds it close
  // enough. Errors name files by `path`.
  LoadedAdapter load(const FileRoot& root, const std::string& path, const LoadOptions& options = {}) const;

 private:
  void choose_form(LoadedAdapter& loaded, const LoadOptions& options) const;

  const ModelConfig& config_;
  const std::vector<std::string> base_names_;
  const DivergenceProbe probe_;
  const AdapterBase base_;
  const Model* const model_;
};

// A line for the base and one for the chat template, where an adapter says that it was made on another than
// it meets now. No error: bases of one shape may be meant to share adapters. What either does not say is no
// difference.
std::vector<std::string> base_warnings(const AdapterBase& made_on, const AdapterBase& now);

// Error: not 1 to 64 letters, digits, '.', '_' and '-', or it begins with '.'.
void require_adapter_name(std::string_view name);

// "elf" of "elf@40", as a step of a tuning is called, whose adapter is elf at the end; of another name, all
// of it.
std::string_view without_step(std::string_view name);

}  // namespace chorus
