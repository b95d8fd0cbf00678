#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "kernels/kernels.h"
#include "model/target.h"

namespace chorus {

// How an adapter's elements stand in memory.
enum class AdapterForm : uint8_t {
  kExact,  // in the files' own type
  kInt8    // 8 bits, groups of 32 share a scale
};

// A LoRA adapter in memory: views over one flat buffer. Immutable; shared by the requests that use it, freed
// with the last of them.
class Adapter {
 public:
  // `groups`: layers x kLayerGroups, then the head's; views into `buffer`. In each, scale is alpha / rank, or
  // alpha / sqrt(rank) with rsLoRA.
  Adapter(std::string id, AdapterForm form, std::vector<LoraMatrices> groups, Buffer<std::byte> buffer);

  const std::string& id() const { return id_; }  // hex SHA-256 of content: configuration and tensors
  AdapterForm form() const { return form_; }
  int max_rank() const { return max_rank_; }
  size_t bytes() const { return buffer_.bytes(); }
  // What it adds to a layer's group (kHead: any layer).
  const LoraMatrices& group(int layer, InputGroup group) const { return groups_[group_index(layer, group)]; }
  const std::vector<LoraMatrices>& groups() const { return groups_; }

 private:
  size_t group_index(int layer, InputGroup group) const {
    if (group == InputGroup::kHead) return groups_.size() - 1;
    return static_cast<size_t>(layer) * kLayerGroups + static_cast<size_t>(group);
  }

  std::string id_;
  AdapterForm form_;
  std::vector<LoraMatrices> groups_;
  Buffer<std::byte> buffer_;
  int max_rank_ = 0;
};

using AdapterHandle = std::shared_ptr<const Adapter>;

}  // namespace chorus
