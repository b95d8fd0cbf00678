#pragma once

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "model/adapter.h"
#include "model/adapter_file.h"
#include "model/config.h"
#include "model/weights.h"

namespace chorus {

// The pairs of one group of a layer, at most one a place.
using GroupPairs = std::array<const FilePair*, kMaxGroup>;

// Packs all pairs of a checked file into one buffer, in their own types: the A of linears that share an input
// one after the other, as f32 if their types differ. The id is the hash of the tensors and scales. With DoRA
// B is multiplied with the gain, and f32; the base's weights are needed for that: only then `model` is read.
AdapterHandle pack_adapter(const AdapterFile& file, const ModelConfig& config, const Model* model = nullptr);

// Packs an adapter whose tensors change, always into the same memory.
class AdapterPacker {
 public:
  // Both are read by pack() too. The values are those of the first pack() on.
  AdapterPacker(const AdapterFile& file, const ModelConfig& config, std::string id);

  size_t groups() const;
  // A group as its tensors are now; from any thread, while nobody reads it. `gain` is asked for what each row
  // of a pair with DoRA is multiplied with.
  using Gain = std::function<std::vector<float>(const FilePair& pair)>;
  void pack(size_t group, const Gain& gain) const;
  const AdapterHandle& adapter() const { return adapter_; }

 private:
  const AdapterFile* file_;
  const ModelConfig* config_;
  std::vector<GroupPairs> pairs_;
  std::byte* memory_ = nullptr;  // the adapter's
  AdapterHandle adapter_;
};

// What pack_adapter() would give, without doing it.
struct PackedSize {
  std::string id;
  size_t bytes = 0;
};
PackedSize packed_size(const AdapterFile& file, const ModelConfig& config);

// The same adapter with 8-bit elements. Takes no notice of what that costs in accuracy.
AdapterHandle to_int8(const Adapter& exact);

}  // namespace chorus
