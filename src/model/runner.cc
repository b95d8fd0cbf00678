#include "model/runner.h"

#include "kernels/peaks.h"

namespace chorus {

ModelRunner::ModelRunner(TensorSource& source, ThreadTeam& team, PackedCache& cache, bool exact,
                         std::optional<KvType> kv_type)
    : team_(team),
      model_(load_model(source, team, cache)),
      kernels_(choose_kernels()),
      exact_(exact),
      kv_type_(kv_type.value_or(exact ? kernels_.exact_kv : kernels_.default_kv)) {}

double ModelRunner::read_rate(std::span<const std::byte> data) const {
  return chorus::read_rate(team_, data);
}

const char* ModelRunner::int8_unit() const {
  const MultiplyUnit* unit = chorus::int8_unit(kernels_.name);
  return unit == nullptr ? "" : unit->name;
}

double ModelRunner::int8_rate() const {
  const MultiplyUnit* unit = chorus::int8_unit(kernels_.name);
  return unit == nullptr ? 0 : multiply_rate(team_, *unit);
}

void ModelRunner::reserve(int pages, const StepLimits& limits) {
  kv_ = std::make_unique<KvPages>(model_.config, kv_type_, pages);
  transformer_ = std::make_unique<Transformer>(model_, kernels_, *kv_, limits, exact_);
}

const char* ModelRunner::kv_type_name() const {
  switch (kv_type_) {
    case KvType::kF32:
      return "f32";
    case KvType::kF16:
      return "f16";
    case KvType::kI8:
      return "int8";
  }
  return "";
}

}  // namespace chorus
