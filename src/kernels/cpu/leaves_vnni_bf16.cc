#include "kernels/cpu/dot_vnni.h"
#include "kernels/cpu/leaves-inl.h"
#include "kernels/cpu/linear-inl.h"
#include "kernels/cpu/pair_attention-inl.h"

namespace chorus {
namespace {

constexpr Leaves with_pairs(Leaves leaves) {
  leaves.attend_piece = attend_piece_by_pairs;
  return leaves;
}

}  // namespace

const Leaves kVnniBf16Leaves = with_pairs(kLeaves);

}  // namespace chorus
