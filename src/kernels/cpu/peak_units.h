#pragma once

#include "kernels/peaks.h"

namespace chorus {

// One in each file that is compiled for its instruction set; cpu_id.h says which may be called.
extern const MultiplyUnit kAvx2Unit;
extern const MultiplyUnit kAvxVnniUnit;
extern const MultiplyUnit kAvx512Unit;
extern const MultiplyUnit kAvx512VnniUnit;
extern const MultiplyUnit kAvx2F32Unit;
extern const MultiplyUnit kAvx512F32Unit;
extern const MultiplyUnit kAvx512Bf16Unit;
extern const MultiplyUnit kAmxUnit;

}  // namespace chorus
