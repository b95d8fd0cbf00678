#include "kernels/cpu/dot_avxvnni.h"
#include "kernels/cpu/leaves-inl.h"
#include "kernels/cpu/linear_avx2-inl.h"

namespace chorus {

const Leaves kAvxVnniLeaves = kLeaves;

}  // namespace chorus
