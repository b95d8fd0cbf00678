#include "model/adapter_dora.h"

#include <cmath>

#include "base/error.h"
#include "formats/quant_blocks.h"
#include "kernels/pack.h"

namespace chorus {
namespace {

// A row that is to become so much longer is of another base, or of zeros.
constexpr double kMostGain = 1e6;

}  // namespace

std::vector<float> elements_of(const FileTensor& tensor) {
  std::vector<float> values(tensor.data.size() / dtype_info(tensor.type).block_bytes);
  dequantize(tensor.type, tensor.data, values);
  return values;
}

std::vector<float> dora_gain(const FilePair& pair, const PackedMatrix& weight) {
  const auto rank = static_cast<size_t>(pair.a->shape[0]), cols = static_cast<size_t>(weight.cols);
  const std::vector<float> a = elements_of(*pair.a), b = elements_of(*pair.b);
  std::vector<float> gain = elements_of(*pair.magnitude), row(cols);
  for (size_t o = 0; o < gain.size(); ++o) {
    unpack_row(weight, static_cast<int>(o), 0, weight.cols, row.data());
    for (size_t r = 0; r < rank; ++r) {
      const float factor = pair.scale * b[o * rank + r];
      const float* from = a.data() + r * cols;
      for (size_t i = 0; i < cols; ++i) row[i] += factor * from[i];
    }
    double sum = 0;
    for (const float value : row) sum += double{value} * value;
    gain[o] = static_cast<float>(gain[o] / std::sqrt(sum));
    if (!(std::fabs(gain[o]) < kMostGain)) {
      fail("tensor {}: element {} is over {} times the length that this row of base and adapter has",
           printable(pair.magnitude->name, 200), o, kMostGain);
    }
  }
  return gain;
}

}  // namespace chorus
