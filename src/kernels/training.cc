#include "kernels/training.h"

#include "kernels/dropout.h"
#include "kernels/training_reference.h"

namespace chorus {

bool dropout_keeps(uint64_t key, uint64_t row_key, int column, float p) {
  const uint32_t hash = dropout_hash(dropout_seed(key, row_key), static_cast<uint32_t>(column));
  return static_cast<float>(hash >> 8) * 0x1p-24f >= p;
}

size_t linear_backward_bytes(int rows, int max_n) {
  // bf16, in whole tiles of 16 rows and 32 outputs of each task.
  const auto outputs = static_cast<size_t>(max_n) + kMaxGroup * 32;
  return static_cast<size_t>(round_up(rows, 16)) * outputs * 2;
}

size_t attention_backward_floats(int max_sequence_rows, int, int, int dim) {
  const auto rows = static_cast<size_t>(max_sequence_rows), columns = static_cast<size_t>(dim);
  return 2 * (3 * rows * columns + 2 * rows);
}

const TrainingKernels* find_training_kernels(std::string_view name) {
  return find_kernels(name) == nullptr ? nullptr : &kReferenceTrainingKernels;
}

std::vector<const TrainingKernels*> available_training_kernels() { return {&kReferenceTrainingKernels}; }

}  // namespace chorus
