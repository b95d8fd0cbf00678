#include "kernels/cpu/simd_portable.h"
#include "kernels/cpu/training_leaves-inl.h"

namespace chorus {

const TrainingLeaves kPortableTraining = training_leaves(kF32Base);

}  // namespace chorus
