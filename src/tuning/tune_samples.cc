#include "tuning/tune_samples.h"

#include <algorithm>
#include <map>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "engine/engine.h"
#include "formats/chat_text.h"

namespace chorus {
namespace {

constexpr size_t kMostPromptTokens = 1024;  // a longer one is not answered

json::object json_of(const TuneSample& sample) {
  return {
      {"adapter", sample.adapter}, {"step", sample.step}, {"prompt", sample.prompt}, {"text", sample.text}};
}

// The samples of a file; what is no line of ours is left out, as of a file that is not there.
std::vector<TuneSample> read_samples(const std::string& path) {
  std::vector<TuneSample> samples;
  try {
    const MappedFile file(path, MappedFile::Access::kCopy);
    std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
    for (size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
      const json::object line = parse_json(text.substr(0, end), path).as_object();
      samples.push_back({std::string(line.at("adapter").as_string()), line.at("step").to_number<int64_t>(),
                         std::string(line.at("prompt").as_string()),
                         std::string(line.at("text").as_string())});
      text.remove_prefix(end + 1);
    }
  } catch (const std::exception&) {
  }
  return samples;
}

}  // namespace

TuneSamples::TuneSamples(TuneModel& model, const TextFiles& text, TuneSampleOptions options, std::string path,
                         bool resumed)
    : model_(model),
      text_(text),
      options_(std::move(options)),
      path_(std::move(path)),
      samples_(resumed ? read_samples(path_) : std::vector<TuneSample>()) {
  if (resumed) remove_unfinished(path_);
}

std::vector<std::vector<int32_t>> TuneSamples::prompts_of(const TuneTask& task) const {
  std::vector<std::vector<int32_t>> prompts;
  for (const std::string& text : options_.prompts) {
    if (!text_.chat_template) {
      prompts.push_back(text_.tokenizer.encode(text, {.add_special = true}));
      continue;
    }
    const json::array messages = {{{"role", "user"}, {"content", text}}};
    prompts.push_back(encode_rendered(
        text_.tokenizer, render_chat(*text_.chat_template, text_.tokenizer, {{"messages", messages}}, true)));
  }
  for (const TokenizedExample& example : task.validation) {
    if (!options_.prompts.empty() || static_cast<int>(prompts.size()) == options_.count) break;
    const auto first = std::ranges::find(example.label, 1) - example.label.begin();
    prompts.emplace_back(example.tokens.begin(), example.tokens.begin() + first);
  }
  std::erase_if(prompts, [](const std::vector<int32_t>& prompt) {
    return prompt.empty() || prompt.size() > kMostPromptTokens;
  });
  return prompts;
}

// All prompts in one batch, by an engine that lives no longer than that.
std::vector<std::string> TuneSamples::answers(const std::vector<std::vector<int32_t>>& prompts,
                                              AdapterHandle adapter) {
  const auto count = static_cast<int>(prompts.size());
  EngineConfig config;
  config.model_id = model_.model().id;
  config.vocab = model_.model().config.vocab;
  for (const std::vector<int32_t>& prompt : prompts) {
    const int length = static_cast<int>(prompt.size()) + options_.max_tokens;
    config.context_length = std::max(config.context_length, length);
    config.pages += length / kPagePositions + 1;
  }
  config.max_rows = std::max(256, count + 1);
  config.max_sequences = count;
  config.max_adapters = 1;
  config.max_prompt_logprob_rows = 1;
  config.max_lora_floats_per_row = kMaxGroup * (adapter == nullptr ? 0 : adapter->max_rank());
  Engine engine(config, model_.forward(config.pages, {.rows = config.max_rows,
                                                      .logit_rows = config.max_logit_rows(),
                                                      .context_length = config.context_length,
                                                      .lora_floats_per_row = config.max_lora_floats_per_row,
                                                      .segments = config.max_segments()}));
  std::map<uint64_t, size_t> index;
  for (size_t i = 0; i < prompts.size(); ++i) {
    Request request;
    request.prompt = prompts[i];
    request.sampling.temperature = 0;
    request.max_tokens = options_.max_tokens;
    request.stop_ids = text_.tokenizer.stop_ids();
    if (adapter != nullptr) request.adapters = {{adapter, 1}};
    index[engine.submit(std::move(request))] = i;
  }
  std::vector<std::vector<int32_t>> tokens(prompts.size());
  while (engine.step([&](const TokenEvent& event) {
    if (event.token >= 0 && event.finish != FinishReason::kStop)
      tokens[index.at(event.request)].push_back(event.token);
  })) {
  }
  std::vector<std::string> texts;
  for (const std::vector<int32_t>& of : tokens) texts.push_back(text_.tokenizer.decode(of));
  return texts;
}

std::vector<TuneSample> TuneSamples::add(const TuneTask& task, TuneSample sample, AdapterHandle adapter) {
  const std::vector<std::vector<int32_t>> prompts = prompts_of(task);
  if (options_.max_tokens == 0 || prompts.empty()) return {};
  const std::vector<std::string> texts = answers(prompts, std::move(adapter));
  std::vector<TuneSample> added;
  for (size_t i = 0; i < prompts.size(); ++i) {
    sample.prompt = text_.tokenizer.decode(prompts[i]);
    sample.text = texts[i];
    added.push_back(sample);
  }
  samples_.insert(samples_.end(), added.begin(), added.end());
  return added;
}

std::vector<TuneSample> TuneSamples::begin(const Trainer& trainer) {
  if (!samples_.empty()) return {};
  std::vector<TuneSample> added;
  for (size_t i = 0; i < trainer.size(); ++i) {
    if (i > 0 && !options_.prompts.empty()) break;  // the same for all
    std::ranges::move(add(trainer.task(i), {}, nullptr), std::back_inserter(added));
  }
  if (!added.empty()) write();
  return added;
}

std::vector<TuneSample> TuneSamples::evaluated(const Trainer& trainer, size_t index) {
  const TuneTask& task = trainer.task(index);
  const int64_t step = trainer.state(index).step;
  // Of a run that was cut after this: it comes here again.
  std::erase_if(samples_,
                [&](const TuneSample& sample) { return sample.adapter == task.name && sample.step >= step; });
  if (options_.max_tokens == 0) return {};
  std::vector<TuneSample> added = add(task, {.adapter = task.name, .step = step, .prompt = {}, .text = {}},
                                      trainer.adapter(index, fmt::format("{}@{}", task.name, step)));
  if (!added.empty()) write();
  return added;
}

void TuneSamples::write() const {
  std::string text;
  for (const TuneSample& sample : samples_) text += json::serialize(json_of(sample)) + "\n";
  AtomicFile file(path_);
  file.write(text);
  file.commit();
}

}  // namespace chorus
