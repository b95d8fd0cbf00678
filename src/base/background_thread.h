#pragma once

namespace chorus {

// Gives the calling thread the processor only where others leave it, as far as the system lets us say so: for
// work that must not slow down the steps of an engine beside it. Not to be taken back.
void run_in_background();

// The same, further: only processor time that nobody else wants (SCHED_IDLE; where that is refused, nice 19).
// For work that nobody waits for. Threads that the caller starts from then on are so too. What it holds a
// lock on can wait long: it must share none with who is in a hurry.
void run_when_idle();

}  // namespace chorus
