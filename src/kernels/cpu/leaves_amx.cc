#include "kernels/cpu/dot_vnni.h"
#include "kernels/cpu/leaves-inl.h"
#include "kernels/cpu/linear_amx-inl.h"

namespace chorus {
namespace {

constexpr Leaves with_amx(Leaves leaves) {
  leaves.matmul = matmul_or_amx;
  leaves.chunk_rows = kAmxBlockRows;
  leaves.chunk_products = 40'000'000;
  return leaves;
}

}  // namespace

const Leaves kAmxLeaves = with_amx(kLeaves);

}  // namespace chorus
