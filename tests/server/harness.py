"""A running `chorus serve`: started, asked, measured, ended."""

import os
import pathlib
import re
import selectors
import signal
import subprocess
import tempfile
import time

import requests

LISTENING = re.compile(rb"listening on (https?)://(\S+):(\d+)\n")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Server:
    """A server on loopback, on a port of its own unless told which. Arguments are those of `chorus serve`; it is
    ready when this returns, and ended by stop() or close(). `prefix`: a command that runs it, as prlimit."""

    def __init__(self, chorus, model, *flags, key=None, prefix=(), port=0, start_seconds=60):
        self.log = tempfile.NamedTemporaryFile(prefix="chorus-serve-", suffix=".log")
        command = [*prefix, chorus, "serve", model, "--port", port, *flags]
        self.process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=self.log)
        try:
            self.scheme, self.host, self.port = self._read_address(start_seconds)
        except BaseException:
            self.close()
            raise
        self.session = requests.Session()
        self.session.trust_env = False
        if key:
            self.session.headers["Authorization"] = f"Bearer {key}"

    def _read_address(self, seconds):
        """The address that it prints when it is ready to answer."""
        seen, deadline = b"", time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not (found := LISTENING.search(seen)):
                if not selector.select(max(0, deadline - time.monotonic())):
                    raise AssertionError(f"no address within {seconds} s: {seen!r} {self.errors()}")
                piece = os.read(self.process.stdout.fileno(), 4096)
                if not piece:
                    raise AssertionError(f"ended with {self.process.wait()}: {seen!r} {self.errors()}")
                seen += piece
        return found[1].decode(), found[2].decode(), int(found[3])

    @property
    def url(self):
        return f"{self.scheme}://{self.host}:{self.port}"

    def errors(self):
        """What it has written to its standard error."""
        return pathlib.Path(self.log.name).read_text(errors="replace")

    def get(self, path, **options):
        return self.session.get(self.url + path, **{"timeout": 60, **options})

    def post(self, path, body=None, **options):
        return self.session.post(self.url + path, json=body, **{"timeout": 120, **options})

    def complete(self, prompt="Hello", model="base", **fields):
        """The answer to a completion; greedy unless told."""
        body = {"model": model, "prompt": prompt, "temperature": 0, "max_tokens": 16, **fields}
        answer = self.post("/v1/completions", body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def text(self, *arguments, **fields):
        return self.complete(*arguments, **fields)["choices"][0]["text"]

    def models(self):
        return {card["id"]: card for card in self.get("/v1/models").json()["data"]}

    def metrics(self):
        answer = self.get("/metrics")
        assert answer.status_code == 200, answer.text
        return Metrics(answer.text)

    def health_seconds(self):
        """How long /health takes on a connection of its own."""
        start = time.monotonic()
        answer = requests.get(self.url + "/health", timeout=10, headers={"Connection": "close"}, verify=False)
        assert answer.status_code == 200
        return time.monotonic() - start

    def check_quick(self, limit=0.1, seconds=10):
        """It answers /health in time. Tried again for a while: others use the machine too, and what blocks the
        server itself does so for longer or each time."""
        wait_for(lambda: self.health_seconds() < limit, seconds, "/health is slow")

    def rss(self):
        return int(pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE

    def peak(self):
        """The most memory that it has had."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) << 10

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def running(self):
        metrics = self.metrics()
        return metrics.value("vllm:num_requests_running") + metrics.value("vllm:num_requests_waiting")

    def wait_idle(self, seconds=10):
        """Until no request runs or waits."""
        wait_for(lambda: self.running() == 0, seconds, "requests still run")

    def alive(self):
        return self.process.poll() is None

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def drain(self):
        """Sends SIGTERM and waits until it has been heard."""
        self.signal()
        wait_for(lambda: "no new requests" in self.errors(), 5)

    def stop(self, seconds=15):
        """Ends it by SIGTERM and returns its exit status."""
        self.signal()
        try:
            return self.process.wait(seconds)
        finally:
            self.close()

    def close(self):
        if self.alive():
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


class Metrics:
    """Prometheus' text form: `types` by family, `series` {(name, ((label, value), ...)): number}, in order."""

    LINE = re.compile(r'([a-zA-Z_:][\w:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)')
    LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\\n]|\\["\\n])*)"')

    def __init__(self, text):
        self.types, self.helps, self.series = {}, {}, {}
        assert text.endswith("\n")
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name not in self.types, f"two TYPE lines of {name}"
                self.types[name] = kind
            elif line.startswith("# HELP "):
                self.helps[line.split(" ", 3)[2]] = line
            elif line and not line.startswith("#"):
                found = self.LINE.fullmatch(line)
                assert found, f"no line of Prometheus' text form: {line!r}"
                key = found[1], tuple(self.LABEL.findall(found[2] or ""))
                assert key not in self.series, f"twice: {line!r}"
                self.series[key] = float(found[3])

    def named(self, name):
        """{labels as a dict's items: value} of every series of this name."""
        return [(dict(labels), value) for (own, labels), value in self.series.items() if own == name]

    def value(self, name, **labels):
        """The one series of this name that has these labels."""
        found = [v for own, v in self.named(name) if labels.items() <= own.items()]
        assert len(found) == 1, f"{len(found)} series {name}{labels}"
        return found[0]

    def sum(self, name, **labels):
        return sum(v for own, v in self.named(name) if labels.items() <= own.items())


def wait_for(condition, seconds=10, problem="it did not happen", pause=0.02):
    """Polls until `condition()` is true, and returns what it gave."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"{problem} after {seconds} s"
        time.sleep(pause)
    return result


def error_of(answer, status, kind=None):
    """The error object of a refusal, whose form is checked."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text[:300]}"
    document = answer.json()
    assert set(document) == {"error"}, document
    error = document["error"]
    assert set(error) == {"message", "type", "param", "code"}, error
    assert isinstance(error["message"], str) and error["message"] and "\n" not in error["message"]
    assert re.fullmatch("[a-z_]+", error["type"]), error
    assert all(error[name] is None or isinstance(error[name], str) for name in ("param", "code")), error
    if kind:
        assert error["type"] == kind, error
    return error
