#pragma once

#include <vector>

#include "kernels/packed_matrix.h"
#include "model/adapter_file.h"

namespace chorus {

// All elements of a tensor of F32, F16 or BF16.
std::vector<float> elements_of(const FileTensor& tensor);

// DoRA (arXiv:2402.09353): the rows of W + scale B A are given the lengths that the file says. What each row
// is multiplied with: magnitude / |W + scale B A|, [out]. Takes rank x out x in products, of this thread.
// Error: a row that would become over a million times as long, as one of
// length 0 would.
std::vector<float> dora_gain(const FilePair& pair, const PackedMatrix& weight);

}  // namespace chorus
