#include "kernels/cpu/dot_avx512.h"
#include "kernels/cpu/leaves-inl.h"
#include "kernels/cpu/linear-inl.h"

namespace chorus {

const Leaves kAvx512Leaves = kLeaves;

}  // namespace chorus
