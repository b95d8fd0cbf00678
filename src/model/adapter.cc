#include "model/adapter.h"

#include <algorithm>
#include <utility>

namespace chorus {

Adapter::Adapter(std::string id, std::vector<LoraPair> pairs, Buffer<std::byte> buffer)
    : id_(std::move(id)), pairs_(std::move(pairs)), buffer_(std::move(buffer)) {
  for (const LoraPair& pair : pairs_) max_rank_ = std::max(max_rank_, pair.rank());
}

}  // namespace chorus
