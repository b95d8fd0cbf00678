#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/thread_team.h"
#include "model/packed_cache.h"
#include "model/tensor_source.h"
#include "model/transformer.h"
#include "model/weights.h"
#include "train/trainer.h"

namespace chorus {

// A base model to tune on, with the kernels chosen for this machine. What those above train/ need of it.
class TuneModel {
 public:
  // `threads` and `cpus` as of ThreadTeam; `cache` as of RuntimeOptions::packed_cache. Errors as of
  // load_model.
  TuneModel(TensorSource& source, int threads, std::vector<int> cpus, std::string cache);

  const Model& model() const { return model_; }
  ThreadTeam& team() { return team_; }
  const char* kernels_name() const;
  Trainer trainer(std::vector<TuneTask> tasks, const TrainerLimits& limits);
  // Steps of the forward pass as it serves, with KV pages of its own; on the team. Logits [logit_rows,
  // vocab].
  using Forward = std::function<void(const Batch& batch, std::span<float> logits)>;
  Forward forward(int pages, const StepLimits& limits);

 private:
  ThreadTeam team_;
  PackedCache cache_;
  const Kernels& kernels_;
  Model model_;
};

// A trainer on a model that somebody has loaded, with this machine's kernels. All must outlive it.
Trainer make_trainer(const Model& model, ThreadTeam& team, std::vector<TuneTask> tasks,
                     const TrainerLimits& limits);

// What a LoRA is on, out of a model of so many layers: "all-linear", names as "q_proj,v_proj", or a regular
// expression for the whole names of modules, as PEFT's target_modules; of those, the ones in `layers` (see
// parse_layers) and the head, lm_head. Error: neither a name nor an expression; one that matches nothing.
void set_targets(LoraShape& shape, const std::string& targets, const std::string& layers, int model_layers);
// "0-3,7" of a model of so many layers; "" is none. Error: not such a list, a layer that there is not.
std::vector<int> parse_layers(const std::string& text, int layers);

}  // namespace chorus
