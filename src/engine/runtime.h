#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_team.h"
#include "engine/adapter_registry.h"
#include "engine/engine.h"
#include "formats/chat_template.h"
#include "formats/tokenizer.h"
#include "grammar/constraint.h"
#include "model/packed_cache.h"
#include "model/runner.h"
#include "model/tensor_source.h"

namespace chorus {

struct RuntimeOptions {
  int threads = 0;                      // 0: one per physical core, or per CPU of `cpus`
  std::vector<int> cpus = {};           // that the threads are bound to (see ThreadTeam); empty: to none
  size_t kv_bytes = size_t{512} << 20;  // budget of the KV pages
  std::optional<KvType> kv_type = {};   // none: what the kernels keep by default
  int context_length = 0;               // 0: the model's own, or what the budget holds
  int max_sequences = 64;
  int max_queue = 512;  // samples that wait, beyond those that run
  int max_rows = 512;   // of a step
  int prefill_chunk = 256;
  std::vector<std::string> base_names = {"base"};  // what the base is called, and so no adapter
  std::string packed_cache;  // directory for packed models (see packed_cache.h); empty: none
  bool exact =
      false;  // adapters in their files' own types, 16 bits of every linear's input: twice the products
  bool poison_freed_pages = false;  // fill KV pages with NaN when nobody may read them again; for tests
  // Sees every step's batch and logits after it has run; for measurements.
  std::function<void(const Batch& batch, std::span<const float> logits)> observer;
};

// A model with all that serves it: weights, tokenizer, chat template, KV pages, adapters and the engine.
class Runtime {
 public:
  // `path`: a GGUF file or a Hugging Face directory. Errors as of the loaders; a KV budget below one context
  // of 256.
  Runtime(const std::string& path, const RuntimeOptions& options);

  Engine& engine() { return *engine_; }
  AdapterRegistry& adapters() { return *adapters_; }
  const AdapterRegistry& adapters() const { return *adapters_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  ConstraintCompiler& constraints() { return *constraints_; }  // what answers may be; ends with the stop ids
  // Error: the model has no chat template.
  const ChatTemplate& chat_template() const;
  std::string chat_template_hash() const;  // see template_hash()
  bool has_chat_template() const { return chat_template_.has_value(); }
  const Model& model() const { return runner_.model(); }
  ModelRunner& runner() { return runner_; }  // for measurements, while the engine is idle
  const char* kernels_name() const { return runner_.kernels_name(); }
  int threads() const { return team_.size(); }
  size_t kv_bytes() const;  // of the pages in fact reserved
  // Why the packed model could not be kept for the next start; empty: it is, or was not meant to be.
  const std::string& cache_problem() const { return cache_.problem; }

  // A conversation's text. `variables` are those of the template ("messages", "tools", ...); BOS and EOS
  // texts are filled in.
  // `own`: an adapter's template; null: the model's.
  std::string render_chat(json::object variables, bool add_generation_prompt,
                          const ChatTemplate* own = nullptr) const;
  // Token ids of render_chat's text.
  std::vector<int32_t> encode_chat(json::object variables, bool add_generation_prompt = true,
                                   const ChatTemplate* own = nullptr) const;
  // Token ids of such a text: a template writes its own BOS.
  std::vector<int32_t> encode_rendered(std::string_view text) const;
  // Token ids of plain text, with BOS where the model's settings add it.
  std::vector<int32_t> encode_text(std::string_view text) const;

 private:
  Runtime(TensorSource source, const RuntimeOptions& options);
  double probe_adapter(const Adapter& exact, const Adapter& other, int threads) const;

  ThreadTeam team_;
  PackedCache cache_;
  ModelRunner runner_;
  std::optional<ChatTemplate> chat_template_;  // before the tokenizer, which is loaded with it
  Tokenizer tokenizer_;
  std::unique_ptr<AdapterRegistry> adapters_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<ConstraintCompiler> constraints_;  // nudges the engine: gone before it
};

}  // namespace chorus
