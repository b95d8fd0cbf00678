#include "train/packed_lora.h"

namespace chorus {

PackedLora::PackedLora(LoraParameters& parameters, const Model& model, const Kernels& kernels,
                       ThreadTeam& team)
    : parameters_(parameters),
      config_(&model.config),
      file_(parameters.file()),
      packer_(file_, model.config, ""),
      transposed_(parameters.values().size()) {
  if (!parameters.shape().dora) return;
  gains_.emplace(parameters, model, kernels);
  for (size_t i = 0; i < parameters.linears().size(); ++i) {
    parameters.set_lengths(i, gains_->base_lengths(team, i));
  }
}

void PackedLora::pack(TeamMember& member, const AdapterPacker& packer) const {
  const AdapterPacker::Gain gain = [&](const FilePair& pair) {
    const std::span<const float> of = gains_->of(static_cast<size_t>(&pair - file_.pairs.data()));
    return std::vector(of.begin(), of.end());
  };
  member.for_chunks(static_cast<int64_t>(packer.groups()),
                    [&](int64_t i) { packer.pack(static_cast<size_t>(i), gain); });
}

AdapterHandle PackedLora::copy(ThreadTeam& team, std::string id) const {
  const AdapterPacker packer(file_, *config_, std::move(id));
  team.run([&](TeamMember& member) { pack(member, packer); });
  return packer.adapter();
}

void PackedLora::update(ThreadTeam& team) {
  if (gains_) gains_->update(team);
  team.run([&](TeamMember& member) {
    pack(member, packer_);
    member.for_chunks(static_cast<int64_t>(parameters_.groups().size()), [&](int64_t i) {
      parameters_.transpose_a(parameters_.groups()[static_cast<size_t>(i)], transposed_.span());
    });
  });
}

}  // namespace chorus
