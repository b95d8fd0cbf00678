#pragma once

#include <cstddef>

namespace chorus {

// The most memory this process has had resident since it began or since the last reset, in bytes; 0 where the
// system does not say.
size_t peak_resident_bytes();
// Starts the peak anew at what is resident now. Where the system does not let us, the old peak stays.
void reset_peak_resident();
// Gives what has been freed back to the system. The allocator itself keeps tens of megabytes of it when many
// blocks were needed for a while: for use after a load. Takes milliseconds; other threads that allocate wait.
void return_freed_memory();
// From now on every block of a quarter of a megabyte and more goes back to the system when it is freed. By
// itself the allocator keeps more of them the larger they have been: for a process that lives long. Called
// before threads begin.
void return_large_blocks();
// What this process has resident now, in bytes; 0 where the system does not say.
size_t resident_bytes();

}  // namespace chorus
