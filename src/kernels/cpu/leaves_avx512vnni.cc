#include "kernels/cpu/dot_vnni.h"
#include "kernels/cpu/leaves-inl.h"
#include "kernels/cpu/linear-inl.h"

namespace chorus {

const Leaves kAvx512VnniLeaves = kLeaves;

}  // namespace chorus
