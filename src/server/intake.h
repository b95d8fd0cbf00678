#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/services.h"

namespace chorus {

// What every request that makes text goes through before it is read.

// Takes the key's slot. False: it has been answered, as there is no slot or no room in the queue.
bool admit(const Services& services, HttpExchange& exchange, std::shared_ptr<void>& slot);

// "elf@0.7 sha256:..., villain ..."
std::string adapter_header(const std::vector<MixPart>& parts, const std::vector<AdapterUse>& uses);

// What is counted under: the base, an adapter, or a mix in one writing.
Series& series_of(const Services& services, const std::vector<MixPart>& parts);

// ApiError for adapters that could not be had; `param` names the field.
[[noreturn]] void refuse_adapter(const AdapterOutcome& outcome, const std::string& model,
                                 const std::string& param);

uint64_t random_seed();

}  // namespace chorus
