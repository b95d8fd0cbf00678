#include "base/background_thread.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

namespace chorus {

// On Linux a thread has a nice value of its own. At 10 it gets a tenth of a core that a step's thread wants
// too: the steps take no longer that could be measured, and a load takes a few times as long. At 19 a load
// under full work takes seconds, which somebody may be waiting for; at 0 the steps take a third longer.
void run_in_background() { setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), 10); }

void run_when_idle() {
  const sched_param none{};
  if (sched_setscheduler(0, SCHED_IDLE, &none) != 0)
    setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), 19);
}

}  // namespace chorus
