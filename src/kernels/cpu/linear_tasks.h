#pragma once

#include "kernels/cpu/leaves.h"

namespace chorus {

// The linear_group op of every CPU table: cut into rectangles of strips and rows and shared out. Each
// rectangle is finished by one member: the products, what the adapters add, the gated activation.
void run_linear_group(const Leaves& leaves, TeamMember& member, const LinearGroupArgs& args);

}  // namespace chorus
