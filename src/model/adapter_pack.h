#pragma once

#include "model/adapter.h"
#include "model/adapter_file.h"
#include "model/config.h"
#include "model/weights.h"

namespace chorus {

// Packs all pairs of a checked file into one buffer, in their own types: the A of linears that share an input
// one after the other, as f32 if their types differ. The id is the hash of the tensors and scales. With DoRA
// B is multiplied with the gain, and f32; the base's weights are needed for that: only then `model` is read.
AdapterHandle pack_adapter(const AdapterFile& file, const ModelConfig& config, const Model* model = nullptr);

// What pack_adapter() would give, without doing it.
struct PackedSize {
  std::string id;
  size_t bytes = 0;
};
PackedSize packed_size(const AdapterFile& file, const ModelConfig& config);

// The same adapter with 8-bit elements. Takes no notice of what that costs in accuracy.
AdapterHandle to_int8(const Adapter& exact);

}  // namespace chorus
