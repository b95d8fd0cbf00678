#pragma once

#include <cstdint>
#include <span>

#include "base/thread_team.h"
#include "model/adapter.h"
#include "model/weights.h"

namespace chorus {

// How far `other`, a form of the same adapter, moves the model from `exact`: the mean over the tokens, two or
// more, of the KL divergence of the next token's distribution, in nats. Both run as two sequences of one
// batch on 16-bit inputs, with pages and buffers of their own, so nothing that runs beside it is disturbed.
double adapter_divergence(const Model& model, ThreadTeam& team, const Adapter& exact, const Adapter& other,
                          std::span<const int32_t> tokens);

}  // namespace chorus
