#pragma once

#include "kernels/peaks.h"

namespace chorus {

// One in each file that is compiled for its instruction set; cpu_id.h says which may be called.
extern const Int8Unit kAvx2Unit;
extern const Int8Unit kAvxVnniUnit;
extern const Int8Unit kAvx512Unit;
extern const Int8Unit kAvx512VnniUnit;

}  // namespace chorus
