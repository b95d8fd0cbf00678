#pragma once

#include "kernels/kernels.h"

namespace chorus {

// The op that every CPU table shares, the reference's included: nothing to gain from an instruction set.
void rope_table(Stream& stream, const RopeTableArgs& args);

}  // namespace chorus
