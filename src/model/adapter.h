#pragma once

#include <array>
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
  const std::string& id() const { return id_; }  // hex SHA-256 of content: configuration and tensors
  int max_rank() const { return max_rank_; }
  size_t bytes() const { return buffer_.bytes(); }
  int pairs_count() const { return pair_count_; }
  // The pair of a layer's linear (kHead: any layer).
  const LoraPair& pair(int layer, Target target) const { return pairs_[pair_index(layer, target)]; }

 private:
  friend class AdapterBuilder;
  size_t pair_index(int layer, Target target) const {
    return target == Target::kHead ? pairs_.size() - 1
                                   : static_cast<size_t>(layer) * kLayerTargets + static_cast<size_t>(target);
  }
  std::string id_;
  int max_rank_ = 0, pair_count_ = 0;
  std::vector<LoraPair> pairs_;  // layers x kLayerTargets, then the head
  Buffer<std::byte> buffer_;
};

using AdapterHandle = std::shared_ptr<const Adapter>;

}  // namespace chorus
