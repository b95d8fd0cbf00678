#include "model/runner.h"

namespace chorus {

ModelRunner::ModelRunner(const std::string& path, ThreadTeam& team)
    : team_(team), model_(load_model(path, team)), kernels_(choose_kernels()) {}

void ModelRunner::reserve(int pages, const StepLimits& limits) {
  kv_ = std::make_unique<KvPages>(model_.config, kernels_.default_kv, pages);
  transformer_ = std::make_unique<Transformer>(model_, kernels_, *kv_, limits);
}

}  // namespace chorus
