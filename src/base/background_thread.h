#pragma once

namespace chorus {

// Gives the calling thread the processor only where others leave it, as far as the system lets us say so: for
// work that must not slow down the steps of an engine beside it. Not to be taken back.
void run_in_background();

}  // namespace chorus
