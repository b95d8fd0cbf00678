#pragma once

// The tables that kernels.cc chooses from.

#include "kernels/kernels.h"

namespace chorus {

extern const Kernels kReferenceKernels;

}  // namespace chorus
