#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/training_leaves-inl.h"

namespace chorus {

const TrainingLeaves kAvx512Training = training_leaves(kF32Base);

}  // namespace chorus
