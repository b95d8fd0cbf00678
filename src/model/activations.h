#pragma once

#include "base/buffer.h"
#include "kernels/kernels.h"
#include "model/linear.h"

namespace chorus {

// The input of linears: f32 rows, and their int8 form where the kernels multiply that.
class Activations {
 public:
  Activations(int rows, int cols, bool quantized, bool fine = false)
      : values_(static_cast<size_t>(rows) * static_cast<size_t>(cols)) {
    if (!quantized) return;
    const size_t padded = static_cast<size_t>(rows) * static_cast<size_t>(round_up(cols, kBlockCols));
    quants_ = Buffer<int8_t>(padded);
    scales_ = Buffer<float>(padded / kGroupCols);
    starts_ = Buffer<int32_t>(padded / kGroupCols);
    sums_ = Buffer<float>(padded / kGroupCols);
    if (!fine) return;
    rest_ = Buffer<int8_t>(padded);
    rest_starts_ = Buffer<int32_t>(padded / kGroupCols);
    fine_sums_ = Buffer<float>(padded / kGroupCols);
  }
  float* values() { return values_.data(); }
  QuantizedRows quantized() { return {quants_.data(), scales_.data(), starts_.data(), sums_.data()}; }
  QuantizedRows fine() {
    return {quants_.data(), scales_.data(),      starts_.data(),   sums_.data(),
            rest_.data(),   rest_starts_.data(), fine_sums_.data()};
  }
  LinearInput input(int rows) { return {values(), quantized(), rows}; }
  LinearInput fine_input(int rows) { return {values(), fine(), rows}; }

 private:
  Buffer<float> values_;
  Buffer<int8_t> quants_;
  Buffer<float> scales_;
  Buffer<int32_t> starts_;
  Buffer<float> sums_;
  Buffer<int8_t> rest_;  // of those made fine, else null
  Buffer<int32_t> rest_starts_;
  Buffer<float> fine_sums_;
};

}  // namespace chorus
