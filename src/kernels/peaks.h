#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/thread_team.h"

namespace chorus {

// What the machine gives right now to a loop that does nothing else. Other figures are stated as shares of
// these, because a shared machine gives more or less from one minute to the next: measure both in turn.

// Bytes a second: the team reads `data` (of a multiple of 64 bytes, aligned to 64) once, each member its
// share.
double read_rate(ThreadTeam& team, std::span<const std::byte> data);

// A unit of the processor that multiplies, by its instruction.
struct MultiplyUnit {
  const char* name;
  double operations;                 // of one round: multiplications and additions
  void (*multiply)(int64_t rounds);  // with nothing to load
};

// The one that a table of kernels multiplies int4 and int8 weights with, of vectors: AMX tiles have eight
// times its rate for sums that need no scales in between, which is no bound that a group's 32 columns come
// near. For a table without one of its own, the best of this machine. nullptr: this machine has none that we
// know.
const MultiplyUnit* int8_unit(std::string_view kernels);

// The ones that a table of training ops multiplies f32 with, and weights in its linear_backward. nullptr: of
// that table we know none.
const MultiplyUnit* f32_unit(std::string_view training_kernels);
const MultiplyUnit* weight_unit(std::string_view training_kernels);

// Operations a second of the whole team, over some ten milliseconds.
double multiply_rate(ThreadTeam& team, const MultiplyUnit& unit);

}  // namespace chorus
