"""The end of a server, and what it does when it is full."""

import asyncio
import contextlib
import signal
import threading
import time

import pytest

from harness import error_of, wait_for
from raw import connect, exchange, http_request, json_request
from streams import gather, stream

PATH = "/v1/completions"
SHORT = {"model": "base", "prompt": "Hello", "max_tokens": 2, "temperature": 0}
LONG = {"model": "base", "prompt": "Hello", "max_tokens": 480, "ignore_eos": True, "stream": True, "temperature": 0}
SLOW = LONG | {"max_tokens": 250}  # about a second for SmolLM2


@pytest.fixture
def start_slow(start_server, smollm2):
    """Starts a server on SmolLM2: what has to run on while the test does something takes the tiny model too little time."""

    def start(*flags):
        return start_server(smollm2, "--kv-memory", "64", *flags)

    return start


def get(path):
    return http_request("GET", path, [("Host", "localhost")])


class Streams:
    """So many streams in the background; `answers` when they have ended."""

    def __init__(self, port, body, count):
        self.thread = threading.Thread(target=self._run, args=(port, body, count))
        self.thread.start()

    def _run(self, port, body, count):
        bodies = [body | {"prompt": f"Hello {i}"} for i in range(count)]
        self.answers = asyncio.run(gather([stream(port, PATH, b) for b in bodies], count))

    def wait(self, seconds=30):
        self.thread.join(seconds)
        assert not self.thread.is_alive()
        return self.answers


def test_sigterm_with_64_streams(start_tiny):
    """What runs ends whole or by a clean error, within 10 s; nothing new is let in; /ready says so."""
    server = start_tiny("--max-sequences", "64")
    streams = Streams(server.port, LONG, 64)
    wait_for(lambda: server.metrics().value("vllm:num_requests_running") >= 32)
    with connect(server) as kept:  # a connection from before
        kept.sendall(get("/health"))
        assert kept.recv(4096).startswith(b"HTTP/1.1 200")
        begun = time.monotonic()
        server.drain()
        with contextlib.suppress(ConnectionError):
            kept.sendall(json_request(PATH, SHORT))
            status = kept.recv(4096)[:12]
            assert status in (b"", b"HTTP/1.1 503"), status
    assert server.process.wait(15) == 0
    assert time.monotonic() - begun < 12
    answers = streams.wait()
    assert all(answer.whole() or (answer.errors and not answer.broken) for answer in answers), [
        (a.status, a.broken, a.finishes, a.errors) for a in answers if not a.whole()
    ][:3]
    server.close()


def test_ready_while_draining(start_slow):
    server = start_slow("--max-sequences", "16", "--drain-timeout", "5")
    assert exchange(server, get("/ready")).status == 200
    streams = Streams(server.port, SLOW, 4)
    wait_for(lambda: server.metrics().value("vllm:num_requests_running") > 0)
    server.drain()
    assert exchange(server, get("/ready")).status == 404  # on a new connection, as probes do
    assert server.process.wait(10) == 0
    assert all(answer.status == 200 for answer in streams.wait())
    server.close()


def test_new_connections_are_refused_or_told(start_slow):
    server = start_slow("--drain-timeout", "5")
    streams = Streams(server.port, SLOW, 4)
    wait_for(lambda: server.metrics().value("vllm:num_requests_running") > 0)
    server.drain()
    with contextlib.suppress(ConnectionError):
        answer = exchange(server, json_request(PATH, SHORT))
        assert answer.status in (0, 503)
    server.process.wait(10)
    streams.wait()
    server.close()


def test_a_second_signal_ends_it_at_once(start_slow):
    server = start_slow("--drain-timeout", "60", "--max-sequences", "8")
    streams = Streams(server.port, SLOW, 32)
    wait_for(lambda: server.metrics().value("vllm:num_requests_running") > 0)
    server.signal()
    time.sleep(0.3)
    assert server.alive()
    server.signal()
    begun = time.monotonic()
    server.process.wait(5)
    assert time.monotonic() - begun < 4
    streams.wait()
    server.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_at_once(start_tiny, number):
    server = start_tiny()
    idle = [connect(server) for _ in range(50)]
    begun = time.monotonic()
    server.signal(number)
    assert server.process.wait(5) == 0 and time.monotonic() - begun < 5
    for sock in idle:
        sock.close()
    server.close()


@pytest.mark.parametrize("status", [503, 429])
def test_a_full_queue(start_slow, status):
    """Told within 50 ms, by the status that was chosen, when to come again."""
    server = start_slow("--max-sequences", "1", "--max-queue", "4", "--overload-status", status)
    streams = Streams(server.port, SLOW, 1)
    wait_for(lambda: server.metrics().value("vllm:num_requests_running") > 0)
    more = Streams(server.port, SLOW, 60)
    answers = more.wait(60)
    refused = [answer for answer in answers if answer.status != 200]
    assert 0 < len(refused) < 60 and {answer.status for answer in refused} == {status}
    assert all(float(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert all(answer.whole() for answer in answers if answer.status == 200)
    streams.wait()
    full = Streams(server.port, SLOW, 12)
    wait_for(lambda: server.metrics().value("vllm:num_requests_waiting") >= 4)
    times = []
    for _ in range(20):
        answer = exchange(server, json_request(PATH, SHORT))
        if answer.status == status:
            times.append(answer.seconds)
            error_of(answer, status)
    assert times and min(times) < 0.05
    full.wait(60)
    server.wait_idle()
    assert exchange(server, json_request(PATH, SHORT)).status == 200
    assert server.stop() == 0


def test_concurrency_of_a_key(start_tiny, tmp_path):
    """One key's requests do not take another's."""
    (tmp_path / "keys").write_text("first\nsecond\n")
    server = start_tiny("--api-key-file", tmp_path / "keys", "--key-concurrency", "2", key="second")
    first = {"Authorization": "Bearer first"}
    body = LONG | {"max_tokens": 300}

    async def run():
        return await gather([stream(server.port, PATH, body, first) for _ in range(12)], 12)

    answers = asyncio.run(run())
    refused = [answer for answer in answers if answer.status == 429]
    assert len(refused) >= 8 and all(answer.whole() for answer in answers if answer.status == 200)
    assert all(answer.headers["retry-after"] for answer in refused)
    server.wait_idle()
    assert server.complete()["choices"]
    again = asyncio.run(stream(server.port, PATH, SHORT | {"stream": True}, first))
    assert again.whole()
    assert server.stop() == 0


def test_queue_timeout(start_slow):
    """Who waits longer than allowed is told so, and what runs goes on."""
    server = start_slow("--max-sequences", "1", "--queue-timeout", "1")
    streams = Streams(server.port, SLOW, 12)
    answers = streams.wait(60)
    late = [answer for answer in answers if answer.status != 200]
    assert 0 < len(late) < 12
    for answer in late:
        assert answer.status in (503, 429) and "retry-after" in answer.headers, (answer.status, answer.body)
    assert all(answer.whole() for answer in answers if answer.status == 200)
    server.wait_idle()
    assert server.stop() == 0


def test_answers_under_kv_exhaustion(start_tiny, fleet_directory):
    """Little KV memory, many long answers: sequences are put back and done again, and nobody can tell."""
    alike = ("--kv-type", "f32", "--max-sequences", "32", "--adapters", fleet_directory)
    small = start_tiny("--kv-memory", "1", *alike)
    wide = start_tiny(*alike)
    for server in (small, wide):
        wait_for(lambda: len(server.models()) == 33, 20)
    bodies = [
        LONG | {"prompt": f"{i} " + "x" * (i % 200), "max_tokens": 250, "model": ("base", "voice01", "voice02")[i % 3]}
        | ({"temperature": 1, "seed": i} if i % 2 else {})
        for i in range(48)
    ]  # fmt: skip
    texts = []
    for server in (small, wide):
        answers = asyncio.run(gather([stream(server.port, PATH, body) for body in bodies], 48))
        assert all(answer.whole() for answer in answers), [answer.errors for answer in answers if not answer.whole()]
        texts.append([answer.text for answer in answers])
    assert texts[0] == texts[1]
    assert small.metrics().sum("vllm:num_preemptions_total") > 0
    for server in (small, wide):
        server.wait_idle()
        assert server.stop() == 0


def test_a_request_larger_than_the_pool(start_tiny):
    server = start_tiny("--kv-memory", "1", "--kv-type", "f32")
    answer = exchange(server, json_request(PATH, SHORT | {"n": 8, "max_tokens": 500}))
    assert answer.status in (200, 400)
    error = None if answer.status == 200 else error_of(answer, 400)
    assert error is None or "KV" in error["message"] or "context" in error["message"]
    assert server.stop() == 0
