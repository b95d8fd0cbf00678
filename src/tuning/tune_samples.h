#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/text_files.h"
#include "formats/json.h"
#include "train/trainer.h"
#include "train/tune_model.h"

namespace chorus {

// What an adapter in training answers to a prompt that stays the same.
struct TuneSample {
  std::string adapter;  // "" is the base
  int64_t step = 0;
  std::string prompt, text;
};

struct TuneSampleOptions {
  std::vector<std::string> prompts;  // user turns for every adapter; none: of its held-out examples the first
  int count = 1;                     // of held-out examples
  int max_tokens = 48;               // of an answer; 0: no samples at all
};

// Greedy answers of adapters in training, by the engine and the forward pass that serve, kept in a file of
// JSON lines. The run's bytes are the same with and without them, and the file's whether it was cut or not.
class TuneSamples {
 public:
  // Both must outlive it. `path`: of the file; what a run that goes on has in it is kept.
  TuneSamples(TuneModel& model, const TextFiles& text, TuneSampleOptions options, std::string path,
              bool resumed);

  // What the base answers to the prompts of every adapter, unless the file has it.
  std::vector<TuneSample> begin(const Trainer& trainer);
  // What an adapter answers now. Error: the file cannot be written.
  std::vector<TuneSample> evaluated(const Trainer& trainer, size_t index);

 private:
  std::vector<std::vector<int32_t>> prompts_of(const TuneTask& task) const;
  std::vector<std::string> answers(const std::vector<std::vector<int32_t>>& prompts, AdapterHandle adapter);
  std::vector<TuneSample> add(const TuneTask& task, TuneSample sample, AdapterHandle adapter);
  void write() const;

  TuneModel& model_;
  const TextFiles& text_;
  const TuneSampleOptions options_;
  const std::string path_;
  std::vector<TuneSample> samples_;
};

}  // namespace chorus
