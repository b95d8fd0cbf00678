#pragma once

#include <string>

#include "model/adapter.h"
#include "model/adapter_file.h"
#include "model/adapter_pack.h"
#include "model/config.h"

namespace chorus {

// What an adapter holds, without a model: for `inspect` and for the loader.
struct AdapterSummary {
  std::string format;  // "PEFT", "GGUF" or "MLX"
  int min_rank = 0, max_rank = 0;
  double alpha = 0;
  bool rslora = false, dora = false;
  int tensors = 0;
  size_t bytes = 0;                  // of tensor data in the file
  std::vector<std::string> targets;  // by their Hugging Face names
  int layers = 0;                    // layers with at least one pair
  AdapterBase base;                  // that it was made on
};

AdapterSummary summarize_adapter(const std::string& path);

// Loads a PEFT directory (adapter_config.json, adapter_model.safetensors), an MLX directory or a GGUF LoRA
// file for `config`. The file is read and checked into own memory. Applies whole or not at all; errors name
// file and tensor or field:
// - a tensor that belongs to no linear of the base, A without B, a shape that is not the base's;
// - a target named in the configuration that has no tensors; NaN or infinity;
// - what would change the mathematics and is not supported (trained biases, modules_to_save, layer
//   replication, embeddings, ...), by name.
// Takes a path as the operator gives it.
// DoRA is refused without `model`, which must be of `config`.
AdapterHandle load_adapter(const std::string& path, const ModelConfig& config, const Model* model = nullptr);
// Of a file that has been read already (see adapter_file.h).
AdapterHandle load_adapter(const AdapterFile& file, const ModelConfig& config, const Model* model = nullptr);
// The same checks, without loading; no weights are needed.
PackedSize check_adapter(const AdapterFile& file, const ModelConfig& config);

// An adapter of that rank on every linear of the layers, for measurements: small values that mean nothing,
// loaded as a file's would be. Equal seeds give equal adapters.
AdapterHandle random_adapter(const ModelConfig& config, int rank, uint64_t seed);

}  // namespace chorus
