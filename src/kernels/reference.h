#pragma once

#include "kernels/kernels.h"

namespace chorus {

extern const Kernels kReferenceKernels;

}  // namespace chorus
