#pragma once

#include "kernels/cpu/leaves.h"

namespace chorus {

// The attention op of every CPU table: cuts it into tiles and pieces and shares them out. Syncs inside if a
// few long contexts have to be cut into pieces to busy every member.
void run_attention(const Leaves& leaves, TeamMember& member, const AttentionArgs& args);

}  // namespace chorus
