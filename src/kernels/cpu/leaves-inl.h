#pragma once

// The algorithms, once; a leaves_*.cc includes this after the dot_*.h (and with it simd_*.h) and the
// linear*.h of its instruction set.

#include "kernels/cpu/attention-inl.h"
#include "kernels/cpu/elementwise-inl.h"
#include "kernels/cpu/expand-inl.h"
#include "kernels/cpu/leaves.h"
#include "kernels/cpu/math-inl.h"
#include "kernels/cpu/matmul-inl.h"

namespace chorus {
namespace {

constexpr Leaves kLeaves = {
    .matmul = matmul,
    .quantize = quantize,
    .rms_norm = rms_norm,
    .gated_act = gated_act,
    .prepare_head = prepare_head,
    .store_kv = store_kv,
    .soft_cap = soft_cap,
    .attend_piece = attend_piece,
    .merge_partials = merge_partials,
    .finish_partial = finish_partial,
};

}  // namespace
}  // namespace chorus
