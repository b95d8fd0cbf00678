#include "model/kv_pages.h"

#include <algorithm>

namespace chorus {

KvPages::KvPages(const ModelConfig& config, KvType type, int pages)
    : pages_(pages), buffer_(page_bytes(config, type) * static_cast<size_t>(pages)) {
  const size_t layer_bytes =
      kv_page_bytes(type, config.kv_heads, config.head_dim) * static_cast<size_t>(pages);
  for (size_t i = 0; i < config.layers.size(); ++i) {
    layers_.push_back({buffer_.data() + i * layer_bytes, type, config.kv_heads, config.head_dim});
  }
}

void KvPages::poison(int32_t page) {
  for (const KvLayer& layer : layers_) {
    const size_t bytes = kv_page_bytes(layer.type, layer.kv_heads, layer.dim);
    // All bits set is a NaN in f32 and in f16, of which the scales of int8 are too.
    std::fill_n(layer.data + static_cast<size_t>(page) * bytes, bytes, std::byte{0xff});
  }
}

size_t KvPages::page_bytes(const ModelConfig& config, KvType type) {
  return kv_page_bytes(type, config.kv_heads, config.head_dim) * config.layers.size();
}

}  // namespace chorus
