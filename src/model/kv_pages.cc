#include "model/kv_pages.h"

namespace chorus {

KvPages::KvPages(const ModelConfig& config, KvType type, int pages)
    : pages_(pages), buffer_(page_bytes(config, type) * static_cast<size_t>(pages)) {
  const size_t layer_bytes =
      kv_page_bytes(type, config.kv_heads, config.head_dim) * static_cast<size_t>(pages);
  for (size_t i = 0; i < config.layers.size(); ++i) {
    layers_.push_back({buffer_.data() + i * layer_bytes, type, config.kv_heads, config.head_dim});
  }
}

size_t KvPages::page_bytes(const ModelConfig& config, KvType type) {
  return kv_page_bytes(type, config.kv_heads, config.head_dim) * config.layers.size();
}

}  // namespace chorus
