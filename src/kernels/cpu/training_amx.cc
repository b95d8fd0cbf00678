#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/training_amx-inl.h"
#include "kernels/cpu/training_leaves-inl.h"

namespace chorus {

const TrainingLeaves kAmxTraining = training_leaves(kAmxBase);

}  // namespace chorus
