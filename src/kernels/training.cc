#include "kernels/training.h"

#include "kernels/cpu/cpu_id.h"
#include "kernels/cpu/training_kernels.h"
#include "kernels/dropout.h"
#include "kernels/training_reference.h"

namespace chorus {
namespace {

struct Entry {
  const TrainingKernels* kernels;
  bool (*can_run)();
};

bool always() { return true; }

// Best first.
constexpr Entry kEntries[] = {
    {&kAmxTrainingKernels, has_amx_bf16},  {&kAvx512Bf16TrainingKernels, has_avx512_bf16},
    {&kAvx512TrainingKernels, has_avx512}, {&kAvx2TrainingKernels, has_avx2},
    {&kPortableTrainingKernels, always},   {&kReferenceTrainingKernels, always}};

}  // namespace

bool dropout_keeps(uint64_t key, uint64_t row_key, int column, float p) {
  const uint32_t hash = dropout_hash(dropout_seed(key, row_key), static_cast<uint32_t>(column));
  return static_cast<float>(hash >> 8) * 0x1p-24f >= p;
}

size_t linear_backward_bytes(int rows, int max_n) {
  // bf16, in whole tiles of 16 rows and 32 outputs of each task.
  const auto outputs = static_cast<size_t>(max_n) + kMaxGroup * 32;
  return static_cast<size_t>(round_up(rows, 16)) * outputs * 2;
}

std::vector<const TrainingKernels*> available_training_kernels() {
  std::vector<const TrainingKernels*> tables;
  for (const Entry& entry : kEntries) {
    if (entry.can_run()) tables.push_back(entry.kernels);
  }
  return tables;
}

const TrainingKernels* find_training_kernels(std::string_view name) {
  for (const TrainingKernels* table : available_training_kernels()) {
    if (name == table->name) return table;
  }
  if (find_kernels(name) == nullptr) return nullptr;
  if (name == "avxvnni") return &kAvx2TrainingKernels;
  for (const TrainingKernels* table : available_training_kernels()) {
    if (table != &kAvx512Bf16TrainingKernels || has_fast_avx512_bf16()) return table;
  }
  return nullptr;
}

}  // namespace chorus
