#pragma once

#include <span>
#include <string_view>

#include "base/sha256.h"
#include "engine/request.h"

namespace chorus {

// What K and V of a block depend on, as a SHA-256 chain: key(block i) = H(key(block i - 1), its 16 tokens),
// and before block 0 stands the seed = H(model id, tenant, each adapter's content id, form and scale bits, in
// order). Every field is preceded by its length, so no two different inputs read the same.
Digest prefix_seed(Sha256& hash, std::string_view model_id, std::string_view tenant,
                   std::span<const AdapterUse> adapters);

// Identity of a list of adapters with their scales; all zero for the empty list.
Digest adapter_key(Sha256& hash, std::span<const AdapterUse> adapters);

// Identity of a tenant.
Digest tenant_key(Sha256& hash, std::string_view tenant);

// `tokens` are the block's kPagePositions ids. Allocates nothing.
Digest next_block_key(Sha256& hash, const Digest& previous, std::span<const int32_t> tokens);

}  // namespace chorus
