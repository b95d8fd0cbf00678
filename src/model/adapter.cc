#include "model/adapter.h"

#include <algorithm>
#include <utility>

namespace chorus {

Adapter::Adapter(std::string id, AdapterForm form, std::vector<LoraMatrices> groups, Buffer<std::byte> buffer)
    : id_(std::move(id)), form_(form), groups_(std::move(groups)), buffer_(std::move(buffer)) {
  for (const LoraMatrices& group : groups_) {
    for (const PackedMatrix& b : group.b) max_rank_ = std::max(max_rank_, b.cols);
  }
}

}  // namespace chorus
