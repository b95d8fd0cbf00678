"""Runs a command and measures it."""

import dataclasses
import fcntl
import json
import os
import pathlib
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios

ADAPTER = re.compile(r"adapter [\w.-]+: (int8|exact), \d+\.\d MB(, int8 is \d\.\d+ nats from exact)?\n")


@dataclasses.dataclass
class Result:
    """`rc` is negative where a signal ended the process; `max_rss` is in bytes. What is said of each adapter that was
    loaded stands in `adapters`, the rest of the standard error in `stderr`."""

    rc: int
    stdout: str
    stderr: str
    adapters: list
    max_rss: int
    seconds: float


class Launcher:
    """Starts commands from a small process; see launcher.py."""

    def __init__(self):
        script = pathlib.Path(__file__).parent / "launcher.py"
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.folder = tempfile.TemporaryDirectory()

    def run(self, command, stdin="/dev/null", stdout=None, timeout=60):
        """Runs it to its end; after `timeout` seconds it is killed. `stdin` and `stdout` are paths."""
        out, err = (os.path.join(self.folder.name, name) for name in ("out", "err"))
        job = {
            "command": list(map(str, command)),
            "stdin": str(stdin),
            "stdout": str(stdout or out),
            "stderr": err,
            "timeout": timeout,
        }
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        took = json.loads(self.process.stdout.readline())
        text = "" if stdout else text_of(out)
        lines = text_of(err).splitlines(keepends=True)
        adapters = [line for line in lines if ADAPTER.match(line)]
        rest = "".join(line for line in lines if not ADAPTER.match(line))
        return Result(took["rc"], text, rest, adapters, took["max_rss"], took["seconds"])

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.folder.cleanup()


def text_of(path):
    return pathlib.Path(path).read_bytes().decode("utf-8", "replace")


def signal_name(rc):
    return signal.Signals(-rc).name if rc < 0 else str(rc)


def terminal_output(command, environment=None, columns=80):
    """What it writes to a terminal of so many columns."""
    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("4H", 40, columns, 0, 0))
    command = list(map(str, command))
    with subprocess.Popen(command, stdout=secondary, stderr=secondary, env=os.environ | (environment or {})) as process:
        os.close(secondary)
        out = b""
        try:
            while part := os.read(primary, 65536):
                out += part
        except OSError:  # the other end is closed
            pass
        assert process.wait(60) == 0
    os.close(primary)
    return out.decode()
