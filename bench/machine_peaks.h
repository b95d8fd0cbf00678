#pragma once

#include "base/thread_team.h"

namespace chorus {

// What the machine gives right now to a loop that does nothing else; figures of kernels are stated as shares
// of it, because a shared machine gives more or less from one minute to the next. Medians of several tries.
double measure_read_bandwidth(ThreadTeam& team);  // bytes/s, from memory
double measure_int8_peak(ThreadTeam& team);       // multiplications and additions a second; 0 without VNNI

}  // namespace chorus
