#include "kernels/cpu/dot_avx2.h"
#include "kernels/cpu/leaves-inl.h"
#include "kernels/cpu/linear_avx2-inl.h"

namespace chorus {

const Leaves kAvx2Leaves = kLeaves;

}  // namespace chorus
