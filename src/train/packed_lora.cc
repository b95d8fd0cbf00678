#include "train/packed_lora.h"

namespace chorus {

PackedLora::PackedLora(const LoraParameters& parameters, const ModelConfig& config)
    : parameters_(parameters),
      file_(parameters.file()),
      packer_(file_, config, ""),
      transposed_(parameters.values().size()) {}

void PackedLora::update(ThreadTeam& team) {
  team.run([&](TeamMember& member) {
    member.for_chunks(static_cast<int64_t>(packer_.groups()),
                      [&](int64_t i) { packer_.pack(static_cast<size_t>(i), nullptr); });
    member.for_chunks(static_cast<int64_t>(parameters_.groups().size()), [&](int64_t i) {
      parameters_.transpose_a(parameters_.groups()[static_cast<size_t>(i)], transposed_.span());
    });
  });
}

}  // namespace chorus
