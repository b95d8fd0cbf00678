#pragma once

#include "kernels/cpu/training_leaves.h"

namespace chorus {

// One member's part of an op.
void run_linear_backward(const BaseProduct& base, TeamMember& member, const LinearBackwardArgs& args);
void run_dora_backward(TeamMember& member, const DoraBackwardArgs& args);
void run_lora_backward(const TrainingLeaves& leaves, TeamMember& member, const LoraBackwardArgs& args);
void run_attention_backward(const TrainingLeaves& leaves, TeamMember& member,
                            const AttentionBackwardArgs& args);

}  // namespace chorus
