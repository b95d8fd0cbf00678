#pragma once

#include <optional>
#include <span>

#include "base/buffer.h"
#include "base/thread_team.h"
#include "model/adapter_pack.h"
#include "train/dora_gains.h"
#include "train/lora_parameters.h"

namespace chorus {

// The forms of an adapter's values that passes multiply, in f32, made again in place when the values change.
class PackedLora {
 public:
  // All must outlive it, and the parameters stay where they are. With DoRA it sets their lengths. What it
  // holds is nothing before the first update().
  PackedLora(LoraParameters& parameters, const Model& model, const Kernels& kernels, ThreadTeam& team);
  PackedLora(const PackedLora&) = delete;

  void update(ThreadTeam& team);
  // What it holds by now, apart from it and under an id of its own: for who serves it.
  AdapterHandle copy(ThreadTeam& team, std::string id) const;
  const Adapter& adapter() const { return *packer_.adapter(); }                    // without an id
  std::span<const float> transposed() const { return transposed_.span(); }         // see transpose_a()
  std::span<const float> gain(size_t linear) const { return gains_->of(linear); }  // of DoRA only

 private:
  void pack(TeamMember& member, const AdapterPacker& packer) const;

  const LoraParameters& parameters_;
  const ModelConfig* config_;
  AdapterFile file_;
  AdapterPacker packer_;
  Buffer<float> transposed_;
  std::optional<DoraGains> gains_;
};

}  // namespace chorus
