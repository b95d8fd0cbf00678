#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "kernels/packed_matrix.h"
#include "model/target.h"

namespace chorus {

// delta W = scale * B A for one linear.
struct LoraPair {
  PackedMatrix a;   // [rank, in]; data == nullptr: this linear is not adapted
  PackedMatrix b;   // [out, rank]
  float scale = 0;  // alpha / rank, or alpha / sqrt(rank) with rsLoRA
  int rank() const { return a.rows; }
};

// A LoRA adapter in memory: views over one flat buffer, in the files' own element type. Immutable; shared by
// the requests that use it, freed with the last of them.
class Adapter {
 public:
  // `pairs`: layers x kLayerTargets, then the head; views into `buffer`.
  Adapter(std::string id, std::vector<LoraPair> pairs, Buffer<std::byte> buffer);

  const std::string& id() const { return id_; }  // hex SHA-256 of content: configuration and tensors
  int max_rank() const { return max_rank_; }
  size_t bytes() const { return buffer_.bytes(); }
  // The pair of a layer's linear (kHead: any layer).
  const LoraPair& pair(int layer, Target target) const {
    return target == Target::kHead ? pairs_.back() : pairs_[pair_index(layer, target)];
  }

  static size_t pair_index(int layer, Target target) {
    return static_cast<size_t>(layer) * kLayerTargets + static_cast<size_t>(target);
  }

 private:
  std::string id_;
  std::vector<LoraPair> pairs_;
  Buffer<std::byte> buffer_;
  int max_rank_ = 0;
};

using AdapterHandle = std::shared_ptr<const Adapter>;

}  // namespace chorus
