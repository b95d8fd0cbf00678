#include "kernels/cpu/dot_vnni.h"
#include "kernels/cpu/leaves-inl.h"
#include "kernels/cpu/linear_bf16-inl.h"

namespace chorus {
namespace {

constexpr Leaves with_bf16(Leaves leaves) {
  leaves.matmul = matmul_or_bf16;
  return leaves;
}

}  // namespace

const Leaves kAvx512Bf16Leaves = with_bf16(kLeaves);

}  // namespace chorus
