#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/training_amx-inl.h"
#include "kernels/cpu/training_leaves-inl.h"
#include "kernels/cpu/training_product_amx-inl.h"

namespace chorus {
namespace {

constexpr TrainingLeaves on_tiles(TrainingLeaves leaves) {
  leaves.adapter_product = product_in_bf16;
  leaves.adapter_rows = leaves.adapter_columns = 64;
  return leaves;
}

}  // namespace

const TrainingLeaves kAmxTraining = on_tiles(training_leaves(kAmxBase));

}  // namespace chorus
