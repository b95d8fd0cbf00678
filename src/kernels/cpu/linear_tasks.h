#pragma once

#include "kernels/cpu/leaves.h"

namespace chorus {

// The linear and LoRA ops of every CPU table: cut into rectangles of strips and rows and shared out.
void run_linear(const Leaves& leaves, TeamMember& member, const LinearArgs& args);
void run_lora_shrink(const Leaves& leaves, TeamMember& member, const LoraArgs& args);
void run_lora_expand_add(const Leaves& leaves, TeamMember& member, const LoraArgs& args);

}  // namespace chorus
