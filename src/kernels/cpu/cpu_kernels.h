#pragma once

#include "kernels/kernels.h"

namespace chorus {

extern const Kernels kPortableKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvxVnniKernels;
extern const Kernels kAvx512Kernels;
extern const Kernels kAvx512VnniKernels;
extern const Kernels kVnniBf16Kernels;
extern const Kernels kAvx512Bf16Kernels;
extern const Kernels kAmxKernels;
extern const Kernels kAmxBf16Kernels;  // see TrainingKernels::forward

}  // namespace chorus
