#include "base/background_thread.h"

#include <sys/resource.h>
#include <unistd.h>

namespace chorus {

// On Linux a thread has a nice value of its own.
void run_in_background() { setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), 19); }

}  // namespace chorus
