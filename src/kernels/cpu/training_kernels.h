#pragma once

#include "kernels/training.h"

namespace chorus {

extern const TrainingKernels kPortableTrainingKernels;
extern const TrainingKernels kAvx2TrainingKernels;
extern const TrainingKernels kAvx512TrainingKernels;
extern const TrainingKernels kAvx512Bf16TrainingKernels;
extern const TrainingKernels kAmxTrainingKernels;

}  // namespace chorus
