#include "engine/prefix_key.h"

#include <bit>

namespace chorus {
namespace {

void add_text(Sha256& hash, std::string_view text) {
  hash.add_value(static_cast<uint64_t>(text.size()));
  hash.add(text);
}

void add_adapters(Sha256& hash, std::span<const AdapterUse> adapters) {
  hash.add_value(static_cast<uint64_t>(adapters.size()));
  for (const AdapterUse& use : adapters) {
    add_text(hash, use.adapter->id());
    hash.add_value(static_cast<uint32_t>(use.adapter->form()));
    hash.add_value(std::bit_cast<uint32_t>(use.scale));
  }
}

}  // namespace

Digest prefix_seed(Sha256& hash, std::string_view model_id, std::string_view tenant,
                   std::span<const AdapterUse> adapters) {
  add_text(hash, model_id);
  add_text(hash, tenant);
  add_adapters(hash, adapters);
  return hash.finish();
}

Digest adapter_key(Sha256& hash, std::span<const AdapterUse> adapters) {
  if (adapters.empty()) return Digest{};
  add_adapters(hash, adapters);
  return hash.finish();
}

Digest tenant_key(Sha256& hash, std::string_view tenant) {
  hash.add(tenant);
  return hash.finish();
}

Digest next_block_key(Sha256& hash, const Digest& previous, std::span<const int32_t> tokens) {
  hash.add(previous);
  hash.add(std::as_bytes(tokens));
  return hash.finish();
}

}  // namespace chorus
