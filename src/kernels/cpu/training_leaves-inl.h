#pragma once

// The algorithms, once; a training_*.cc includes this after the simd_*.h of its instruction set.

#include "kernels/cpu/training_rows-inl.h"
#include "kernels/cpu/training_tile-inl.h"

namespace chorus {
namespace {

constexpr TrainingLeaves training_leaves(const BaseProduct& base) {
  return {.product = product,
          .adapter_product = product,
          .dropout = dropout,
          .rms_norm_backward = rms_norm_backward,
          .gated_backward = gated_backward,
          .prepare_head = prepare_head,
          .prepare_head_backward = prepare_head_backward,
          .transpose = transpose_matrix,
          .softmax_backward = softmax_backward,
          .dot = dot,
          .cross_entropy = cross_entropy,
          .base = base};
}

}  // namespace
}  // namespace chorus
