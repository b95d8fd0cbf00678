#include "engine/runtime.h"

#include <algorithm>

#include "base/error.h"
#include "base/process_memory.h"
#include "engine/text_files.h"
#include "formats/chat_text.h"
#include "model/adapter_probe.h"

namespace chorus {
namespace {

// What the forms of an adapter are compared on.
constexpr std::string_view kProbeText =
    "The old keeper climbed the stairs of the tower every evening, lit the lamp and wrote down what he saw: "
    "ships, weather, birds. One night he asked himself: who reads this? \"Tell me,\" he said to the sea, "
    "\"what should I write tomorrow?\" The answer came in three parts, and the first of them was";
constexpr size_t kProbeTokens = 48;

constexpr int kLoraFloatsPerRow = 512;  // sum of ranks of one row's mix

}  // namespace

Runtime::Runtime(const std::string& path, const RuntimeOptions& options)
    : Runtime(TensorSource::open(path), options) {
  return_freed_memory();  // of what was read and is packed now
}

Runtime::Runtime(TensorSource source, const RuntimeOptions& options)
    : team_(options.threads, options.cpus),
      cache_{.directory = options.packed_cache, .problem = {}},
      runner_(source, team_, cache_, options.exact, options.kv_type),
      tokenizer_([&] {
        TextFiles text = load_text_files(source);
        chat_template_ = std::move(text.chat_template);
        return std::move(text.tokenizer);
      }()) {
  const ModelConfig& config = model().config;
  if (tokenizer_.vocab_size() > config.vocab) {
    fail("{}: the tokenizer has {} tokens, the embedding {} rows", source.path(), tokenizer_.vocab_size(),
         config.vocab);
  }
  const size_t page = runner_.kv_page_bytes();
  const int wanted = options.context_length > 0 ? options.context_length : config.context_length;
  const int64_t affordable = static_cast<int64_t>(options.kv_bytes / page);
  const int64_t useful = int64_t{options.max_sequences} * ((wanted + kPagePositions - 1) / kPagePositions);
  const int pages = static_cast<int>(std::min({affordable, useful, int64_t{1} << 24}));
  if (pages * kPagePositions < 256) {
    fail("the KV budget of {} MiB holds {} positions of this model; at least 256 are needed",
         options.kv_bytes >> 20, pages * kPagePositions);
  }

  EngineConfig engine;
  engine.model_id = model().id;
  engine.vocab = config.vocab;
  engine.context_length = std::min(wanted, pages * kPagePositions);
  engine.pages = pages;
  engine.max_rows = options.max_rows;
  engine.max_sequences = options.max_sequences;
  engine.max_queue = options.max_queue;
  engine.prefill_chunk = options.prefill_chunk;
  engine.max_lora_floats_per_row = kLoraFloatsPerRow;
  if (options.poison_freed_pages) {
    engine.on_page_freed = [this](int32_t page) { runner_.poison(page); };
  }
  const StepLimits limits{.rows = engine.max_rows,
                          .logit_rows = engine.max_logit_rows(),
                          .context_length = engine.context_length,
                          .lora_floats_per_row = engine.max_lora_floats_per_row,
                          .segments = engine.max_segments()};
  runner_.reserve(pages, limits);
  DivergenceProbe probe;
  if (!options.exact) {
    probe = [this](const Adapter& exact, const Adapter& other, int threads) {
      return probe_adapter(exact, other, threads);
    };
  }
  adapters_ = std::make_unique<AdapterRegistry>(
      config, options.base_names, std::move(probe),
      AdapterBase{.name = "", .id = model().id, .chat_template = template_hash(chat_template_)}, &model());
  engine_ = std::make_unique<Engine>(
      engine, [this, observer = options.observer](const Batch& batch, std::span<float> logits) {
        runner_.forward(batch, logits);
        if (observer) observer(batch, logits);
      });
  constraints_ =
      std::make_unique<ConstraintCompiler>(tokenizer_, tokenizer_.stop_ids(), [this] { engine_->nudge(); });
}

// On threads of its own: the team may be in a step.
double Runtime::probe_adapter(const Adapter& exact, const Adapter& other, int threads) const {
  std::vector<int32_t> tokens = encode_text(kProbeText);
  if (tokens.size() > kProbeTokens) tokens.resize(kProbeTokens);
  ThreadTeam team(threads > 0 ? threads : team_.size());
  return adapter_divergence(model(), team, exact, other, tokens);
}

const ChatTemplate& Runtime::chat_template() const {
  if (!chat_template_) fail("the model has no chat template: only raw text can be completed");
  return *chat_template_;
}

std::string Runtime::chat_template_hash() const { return template_hash(chat_template_); }

size_t Runtime::kv_bytes() const {
  return static_cast<size_t>(engine_->config().pages) * runner_.kv_page_bytes();
}

std::string Runtime::render_chat(json::object variables, bool add_generation_prompt,
                                 const ChatTemplate* own) const {
  return chorus::render_chat(own != nullptr ? *own : chat_template(), tokenizer_, std::move(variables),
                             add_generation_prompt);
}

std::vector<int32_t> Runtime::encode_chat(json::object variables, bool add_generation_prompt,
                                          const ChatTemplate* own) const {
  return encode_rendered(render_chat(std::move(variables), add_generation_prompt, own));
}

std::vector<int32_t> Runtime::encode_rendered(std::string_view text) const {
  return chorus::encode_rendered(tokenizer_, text);
}

std::vector<int32_t> Runtime::encode_text(std::string_view text) const {
  return tokenizer_.encode(text, {.add_special = true, .parse_special = true});
}

}  // namespace chorus
