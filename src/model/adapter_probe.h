#pragma once

#include <cstdint>
#include <span>

#include "base/thread_team.h"
#include "model/adapter.h"
#include "model/weights.h"

namespace chorus {

// Two adapters beside each other on the same tokens.
struct AdapterComparison {
  double divergence = 0;  // mean over the tokens of KL(one || other) of the next token, in nats
  double difference = 0;  // largest between two logits; NaN: one is not a number
  double largest = 0;     // logit of the first, without its sign
};

// Runs both, or the base for null, over the tokens, one or more, as adapter_divergence does.
AdapterComparison compare_adapters(const Model& model, ThreadTeam& team, const Adapter* one,
                                   const Adapter* other, std::span<const int32_t> tokens);

// How far `other`, a form of the same adapter, moves the model from `exact`: the mean over the tokens, two or
// more, of the KL divergence of the next token's distribution, in nats. Both run as two sequences of one
// batch on 16-bit inputs, with pages and buffers of their own, so nothing that runs beside it is disturbed.
double adapter_divergence(const Model& model, ThreadTeam& team, const Adapter& exact, const Adapter& other,
                          std::span<const int32_t> tokens);

}  // namespace chorus
