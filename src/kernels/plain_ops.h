#pragma once

#include "kernels/kernels.h"

namespace chorus {

// Ops that every CPU table shares, the reference's included: small, and nothing to gain from an instruction
// set.
void rope_table(Stream& stream, const RopeTableArgs& args);
void gather_rows(Stream& stream, const GatherArgs& args);

}  // namespace chorus
