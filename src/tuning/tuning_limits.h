#pragma once

#include <cstddef>

namespace chorus {

// What a server keeps of tuning at most. The one table.
struct TuningLimits {
  size_t file_bytes = size_t{64} << 20;     // of one file that is sent
  size_t all_file_bytes = size_t{1} << 30;  // of all that were sent
  size_t files = 1000;                      // likewise
  size_t jobs = 256;                        // with those that have ended
  size_t waiting_jobs = 32;                 // that have not
  size_t events = 400;                      // of a job, and checkpoints; those about steps go first
  size_t published_steps = 3;               // of a job that stay in use beside its result
};

}  // namespace chorus
