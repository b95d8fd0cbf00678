#pragma once

#include <span>

#include "base/buffer.h"
#include "base/thread_team.h"
#include "model/adapter_pack.h"
#include "train/lora_parameters.h"

namespace chorus {

// The forms of an adapter's values that passes multiply, in f32, made again in place when the values change.
class PackedLora {
 public:
  // Both must outlive it and stay where they are. What it holds is nothing before the first update().
  PackedLora(const LoraParameters& parameters, const ModelConfig& config);
  PackedLora(const PackedLora&) = delete;

  void update(ThreadTeam& team);
  const Adapter& adapter() const { return *packer_.adapter(); }             // without an id
  std::span<const float> transposed() const { return transposed_.span(); }  // see transpose_a()

 private:
  const LoraParameters& parameters_;
  AdapterFile file_;
  AdapterPacker packer_;
  Buffer<float> transposed_;
};

}  // namespace chorus
