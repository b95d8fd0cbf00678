#include "kernels/cpu/dot_portable.h"
#include "kernels/cpu/leaves-inl.h"
#include "kernels/cpu/linear-inl.h"

namespace chorus {

const Leaves kPortableLeaves = kLeaves;

}  // namespace chorus
