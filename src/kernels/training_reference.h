#pragma once

#include "kernels/training.h"

namespace chorus {

extern const TrainingKernels kReferenceTrainingKernels;

}  // namespace chorus
