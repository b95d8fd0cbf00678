#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/training_bf16-inl.h"
#include "kernels/cpu/training_leaves-inl.h"

namespace chorus {

const TrainingLeaves kAvx512Bf16Training = training_leaves(kBf16Base);

}  // namespace chorus
