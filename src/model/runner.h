#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/thread_team.h"
#include "model/kv_pages.h"
#include "model/transformer.h"
#include "model/weights.h"

namespace chorus {

// A base model ready to run: weights, the kernels chosen for this machine, KV pages and the forward pass.
// What those above model/ need of it, without kernels.
class ModelRunner {
 public:
  // Loads the weights (see load_model). `exact` as of Transformer; without `kv_type`, KV is as the
  // kernels keep it by default, or exactly.
  ModelRunner(TensorSource& source, ThreadTeam& team, PackedCache& cache, bool exact = false,
              std::optional<KvType> kv_type = {});

  const Model& model() const { return model_; }
  const char* kernels_name() const { return kernels_.name; }
  const char* kv_type_name() const;  // "f32", "f16", "int8"
  size_t kv_page_bytes() const { return KvPages::page_bytes(model_.config, kv_type_); }

  // Reserves pages and the buffers of a step; once, before forward().
  void reserve(int pages, const StepLimits& limits);
  // See Transformer::forward.
  void forward(const Batch& batch, std::span<float> logits) { transformer_->forward(team_, batch, logits); }
  // What the machine gives right now; see kernels/peaks.h. The unit is that of these kernels; "" and 0 if it
  // has none that we know.
  double read_rate(std::span<const std::byte> data) const;
  const char* int8_unit() const;
  double int8_rate() const;
  // See KvPages::poison.
  void poison(int32_t page) { kv_->poison(page); }

 private:
  ThreadTeam& team_;
  Model model_;
  const Kernels& kernels_;
  const bool exact_;
  const KvType kv_type_;
  std::unique_ptr<KvPages> kv_;
  std::unique_ptr<Transformer> transformer_;
};

}  // namespace chorus
