"""Runs commands that come as JSON, a line each, and answers each with what it took.

A process of its own because a child's peak memory counts that of the process that it was started from: this
one stays small, pytest does not. Reads {"command", "stdin", "stdout", "stderr" (files), "timeout"}; answers
{"rc" (negative: the signal that ended it), "max_rss" (bytes), "seconds"}.
"""

import json
import os
import signal
import sys
import time


def run(job):
    files = [
        (os.POSIX_SPAWN_OPEN, 0, job["stdin"], os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, job["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, job["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
    ]
    start = time.monotonic()
    pid = os.posix_spawn(job["command"][0], job["command"], os.environ, file_actions=files)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, job["timeout"])
    _, status, usage = os.wait4(pid, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    rc = os.waitstatus_to_exitcode(status)
    return {"rc": rc, "max_rss": usage.ru_maxrss * 1024, "seconds": time.monotonic() - start}


for line in sys.stdin:
    print(json.dumps(run(json.loads(line))), flush=True)
