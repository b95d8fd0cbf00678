#pragma once

#include <vector>

#include "base/buffer.h"
#include "kernels/kernels.h"
#include "model/config.h"

namespace chorus {

// The storage of all KV pages: mechanism only; who owns which page is the engine's business. Page p of every
// layer belongs together. Memory is reserved at once but touched only as pages are used.
class KvPages {
 public:
  KvPages(const ModelConfig& config, KvType type, int pages);
  int pages() const { return pages_; }
  KvLayer layer(int index) const { return layers_[static_cast<size_t>(index)]; }
  // Fills a page of every layer with NaN, so that whoever reads what it held shows it.
  void poison(int32_t page);
  // Bytes one page takes over all layers.
  static size_t page_bytes(const ModelConfig& config, KvType type);

 private:
  int pages_;
  Buffer<std::byte> buffer_;
  std::vector<KvLayer> layers_;
};

}  // namespace chorus
