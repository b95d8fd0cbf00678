#include "kernels/cpu/simd_avx2.h"
#include "kernels/cpu/training_leaves-inl.h"

namespace chorus {

const TrainingLeaves kAvx2Training = training_leaves(kF32Base);

}  // namespace chorus
