#pragma once

// Products of packed weights, chosen by layout. The tiles are those of the linear*-inl.h that is included
// too.

#include "kernels/cpu/strip-inl.h"

namespace chorus {
namespace {

template <bool kQ8, bool kHasMin>
void matmul_quantized(const MatmulArgs&);
template <MatrixLayout kLayout>
void matmul_dense(const MatmulArgs&);

void matmul_short(const MatmulArgs&);  // expand-inl.h

void matmul(const MatmulArgs& args) {
  switch (args.layout) {
    case MatrixLayout::kF32:
      return matmul_dense<MatrixLayout::kF32>(args);
    case MatrixLayout::kF16:
      return matmul_dense<MatrixLayout::kF16>(args);
    case MatrixLayout::kBF16:
      return matmul_dense<MatrixLayout::kBF16>(args);
    case MatrixLayout::kQ8:
      return matmul_quantized<true, false>(args);
    case MatrixLayout::kQ8Short:
      return matmul_short(args);
    case MatrixLayout::kQ4:
      return args.has_min ? matmul_quantized<false, true>(args) : matmul_quantized<false, false>(args);
  }
}

}  // namespace
}  // namespace chorus
