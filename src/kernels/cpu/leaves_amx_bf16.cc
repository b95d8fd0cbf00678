#include "kernels/cpu/dot_vnni.h"
#include "kernels/cpu/leaves-inl.h"
#include "kernels/cpu/linear_amx_bf16-inl.h"

namespace chorus {
namespace {

constexpr Leaves with_bf16_tiles(Leaves leaves) {
  leaves.matmul = matmul_in_bf16;
  leaves.chunk_rows = kForwardRows;
  leaves.chunk_products = 160'000'000;
  leaves.shrink_rows = 128;
  return leaves;
}

}  // namespace

const Leaves kAmxBf16Leaves = with_bf16_tiles(kLeaves);

}  // namespace chorus
