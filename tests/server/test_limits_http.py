"""Abuse below HTTP's surface: lengths, chunks, headers, slowness, and clients that leave. After each the server is
as it was."""

import asyncio
import contextlib
import socket
import threading
import time

import pytest

from harness import wait_for
from raw import closed, connect, exchange, http_request, json_request, receive, reset, send
from streams import gather, stream
from unharmed import at_rest, check_unharmed

HOST = ("Host", "localhost")
JSON = ("Content-Type", "application/json")
PATH = "/v1/completions"
GOOD = {"model": "base", "prompt": "Hello", "max_tokens": 2, "temperature": 0}
LONG = {"model": "base", "prompt": "Hello", "max_tokens": 450, "ignore_eos": True, "stream": True}


@pytest.fixture(scope="module")
def idle(server):
    for _ in range(3):
        assert exchange(server, json_request(PATH, GOOD)).status == 200
    exchange(server, json_request(PATH, b"x" * (8 << 20)))
    return at_rest(server)


@pytest.fixture(autouse=True)
def unharmed(server, idle):
    yield
    check_unharmed(server, idle)
    assert exchange(server, json_request(PATH, GOOD)).status == 200


def with_length(*lengths, body=b"{}"):
    return http_request("POST", PATH, [HOST, JSON, *(("Content-Length", length) for length in lengths)], body)


LENGTHS = {
    "negative": (with_length("-1"), 400),
    "plus": (with_length("+5"), 400),
    "list": (with_length("5,5"), 400),
    "two": (with_length("5", "6"), 400),
    "two equal": (with_length("2", "2"), 400),
    "2^64": (with_length(str(2**64)), 400),
    "2^64-1": (with_length(str(2**64 - 1)), 413),
    "hex": (with_length("0x2"), 400),
    "blank inside": (with_length("1 0"), 400),
    "empty": (with_length(""), 400),
    "1 GB": (with_length(str(10**9)), 413),
    "just over 8 MiB": (with_length(str((8 << 20) + 1)), 413),
    "beside chunked": (http_request("POST", PATH, [HOST, JSON, ("Content-Length", "2"), ("Transfer-Encoding", "chunked")], b"0\r\n\r\n"), 400),
    "other encoding": (http_request("POST", PATH, [HOST, JSON, ("Transfer-Encoding", "gzip, chunked")], b"0\r\n\r\n"), 400),
    "encoding twice": (http_request("POST", PATH, [HOST, JSON, ("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")]), 400),
}


@pytest.mark.parametrize("name", LENGTHS)
def test_lengths(server, name):
    data, status = LENGTHS[name]
    answer = exchange(server, data)
    assert answer.status == status and answer.seconds < 2
    assert answer.headers.get("connection") == "close"


def test_a_body_too_large(server):
    """33 MiB, though it was said to be so: refused before it is read."""
    answer = exchange(server, json_request(PATH, b"x" * (33 << 20)))
    assert answer.status in (0, 413)
    small = exchange(server, json_request(PATH, b"x" * (8 << 20)))
    assert small.status == 400  # of the size that is allowed, and no JSON


def chunked(body):
    return http_request("POST", PATH, [HOST, JSON, ("Transfer-Encoding", "chunked")], body)


CHUNKS = {
    "negative": (b"-2\r\nab\r\n0\r\n\r\n", 400),
    "0x": (b"0x5\r\nhello\r\n0\r\n\r\n", 400),
    "overflow": (b"fffffffffffffffff\r\n", 400),
    "huge": (b"7fffffffffffffff\r\n", 413),
    "empty": (b"\r\nab\r\n", 400),
    "too short": (b"1\r\n{}\r\n0\r\n\r\n", 400),
    "bare LF": (b"2\n{}\n0\n\n", 400),
    "endless extension": (b"2;" + b"x" * 100000, 400),
    "endless trailers": (b"2\r\n{}\r\n0\r\n" + b"a: b\r\n" * 100000, 431),
    "one endless trailer": (b"2\r\n{}\r\n0\r\na: " + b"b" * 1000000, 431),
    "one byte chunks over 8 MiB": (b"100000\r\n" + b"x" * 0x100000 + b"\r\n" + (b"100000\r\n" + b"x" * 0x100000 + b"\r\n") * 8, 413),
}


@pytest.mark.parametrize("name", CHUNKS)
def test_chunks(server, name):
    body, status = CHUNKS[name]
    assert exchange(server, chunked(body)).status == status


def test_a_right_chunked_body(server):
    body = json_request(PATH, GOOD).partition(b"\r\n\r\n")[2]
    pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    assert exchange(server, chunked(pieces + b"0\r\ntrailer: x\r\n\r\n")).status == 200


def get(*headers, path="/health", method="GET", version="HTTP/1.1"):
    return http_request(method, path, [HOST, *headers], version=version)


HEADS = {
    "64 KiB header": (get(("X", "x" * 65536)), 431),
    "1,000 headers": (get(*[(f"X{i}", "x") for i in range(1000)]), 431),
    "91 headers": (get(*[(f"X{i}", "x") for i in range(90)]), 200),
    "long target": (get(path="/" + "x" * 9000), 414),
    "never a newline": (b"G" * (1 << 20), (400, 414)),
    "header without newline": (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * (1 << 20), 431),
    "bare LF": (b"GET /health HTTP/1.1\nHost: localhost\n\n", 400),
    "NUL in a header": (get(("X", "a\0b")), 400),
    "NUL in the target": (get(path="/hea\0lth"), 400),
    "%00": (get(path="/health%00"), 400),
    "obs-fold": (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n", 400),
    "space before colon": (b"GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
    "no colon": (b"GET /health HTTP/1.1\r\nHost: localhost\r\nnonsense\r\n\r\n", 400),
    "empty name": (b"GET /health HTTP/1.1\r\nHost: localhost\r\n: x\r\n\r\n", 400),
    "dots": (get(path="/v1/../health"), 400),
    "encoded dots": (get(path="/v1/%2e%2e/health"), 400),
    "absolute target": (get(path="http://localhost/health"), 400),
    "no version": (b"GET /health\r\n\r\n", 400),
    "HTTP/2.0": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/3": (get(version="HTTP/3.0"), 505),
    "binary": (bytes(range(256)) * 100, 400),
    "TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(505) + b"\n", 400),
    "TRACE": (get(method="TRACE"), 405),
    "OPTIONS": (get(method="OPTIONS"), 405),
    "DELETE": (get(method="DELETE"), 405),
    "unknown method": (get(method="BREW"), 405),
    "method of 10 KB": (get(method="A" * 10240), (400, 414)),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_heads(server, name):
    data, status = HEADS[name]
    answer = exchange(server, data, method="HEAD" if name == "HEAD" else "GET")
    assert answer.status == status or isinstance(status, tuple) and answer.status in status
    assert answer.seconds < 2
    if answer.status != 200:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_head_and_continue(server):
    answer = exchange(server, get(method="HEAD"), method="HEAD")
    assert answer.status == 200 and not answer.body
    head, _, body = json_request(PATH, GOOD, ("Expect", "100-continue")).partition(b"\r\n\r\n")
    with connect(server) as sock:
        sock.sendall(head + b"\r\n\r\n")
        assert sock.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert receive(sock).status == 200
    too_large = with_length(str(10**9)).replace(b"\r\n\r\n{}", b"\r\nExpect: 100-continue\r\n\r\n")
    assert exchange(server, too_large).status == 413  # asked first, refused first


def test_a_thousand_pipelined_requests(server):
    with connect(server) as sock:
        sender = threading.Thread(target=send, args=(sock, get() * 999 + get(("Connection", "close"))))
        sender.start()
        data = b""
        while piece := sock.recv(1 << 16):
            data += piece
        sender.join()
    assert data.count(b"HTTP/1.1 200 OK\r\n") == 1000


def test_http_1_0(server):
    answer = exchange(server, get(version="HTTP/1.0"))
    assert answer.status == 200 and answer.headers["connection"] == "close"
    whole = exchange(server, http_request("POST", PATH, [HOST, JSON, ("Content-Length", str(len(body := json_request(PATH, LONG).partition(b"\r\n\r\n")[2])))], body, "HTTP/1.0"))
    assert whole.status == 200 and whole.body.endswith(b"data: [DONE]\n\n") and "transfer-encoding" not in whole.headers


def leave(sock, way):
    if way == "FIN":
        sock.close()
    elif way == "RST":
        reset(sock)
    else:
        sock.shutdown(socket.SHUT_WR)


STAGES = {
    "in the head": json_request(PATH, LONG)[:40],
    "in the body": json_request(PATH, LONG)[:-10],
    "at once": json_request(PATH, LONG),
    "first token": json_request(PATH, LONG),
    "mid-stream": json_request(PATH, LONG),
    "unstreamed": json_request(PATH, LONG | {"stream": False, "n": 8}),
}


@pytest.mark.parametrize("way", ["FIN", "RST", "half-close"])
@pytest.mark.parametrize("stage", STAGES)
def test_clients_that_leave(server, stage, way):
    """What they asked for ends with them."""
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            sock = stack.enter_context(contextlib.closing(connect(server)))
            sock.sendall(STAGES[stage])
            if stage in ("first token", "mid-stream"):
                assert sock.recv(1)
            if stage == "mid-stream":
                sock.recv(2000)
            leave(sock, way)
        server.wait_idle(2)


def test_leaving_the_queue(start_tiny):
    """One runs, twenty wait, and the twenty leave."""
    server = start_tiny("--max-sequences", "1")
    with connect(server) as first:
        first.sendall(json_request(PATH, LONG))
        assert first.recv(1)
        waiting = [connect(server) for _ in range(20)]
        for sock in waiting:
            sock.sendall(json_request(PATH, LONG | {"stream": False, "n": 8, "max_tokens": 400}))
        with contextlib.suppress(AssertionError):  # the first may end early
            wait_for(lambda: server.metrics().value("vllm:num_requests_waiting") > 0, 1)
        for i, sock in enumerate(waiting):
            reset(sock) if i % 2 else sock.close()
    server.wait_idle(2)
    assert server.stop() == 0


def test_leaving_during_prefill(real):
    prompt = "Once there was a fox. " * 900
    # The pages of the KV memory are resident from their first use on: all of them are used once before.
    for start in "ab":
        assert real.post("/v1/completions", {"model": "base", "prompt": start + prompt, "max_tokens": 1}).status_code == 200
    before = at_rest(real)
    tokens = lambda: real.metrics().sum("vllm:generation_tokens_total")
    generated = tokens()
    body = {"model": "base", "prompt": prompt, "max_tokens": 1000, "ignore_eos": True}
    for way in ("FIN", "RST", "half-close"):
        sock = connect(real)
        sock.sendall(json_request(PATH, body | {"prompt": way + prompt}))
        wait_for(lambda: real.metrics().value("vllm:num_requests_running") == 1, 5)
        leave(sock, way)
        real.wait_idle(30)
        sock.close()
    assert tokens() - generated < 1000, "one went on to its end"
    check_unharmed(real, before)


def test_a_client_that_never_reads(server):
    """Its answer is not kept for ever: it is dropped when too much waits, and what it asked for ends."""
    wide = LONG | {"n": 8, "logprobs": 20}
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", server.port))
        sock.sendall(json_request(PATH, wide))
        sock.settimeout(30)
        sock.recv(1, socket.MSG_PEEK)  # it has begun
        server.wait_idle(10)
        received = b""
        with contextlib.suppress(ConnectionError):
            while piece := sock.recv(1 << 16):
                received += piece
    assert received.startswith(b"HTTP/1.1 200") and b"[DONE]" not in received


def test_slow_clients(server):
    """Heads and bodies a byte a time, and a stalled reader: all are let go in time, and nobody else waits."""
    begun = time.monotonic()
    kinds = {"head": (b"GET /health HTTP/1.1\r\nX: ", 10), "body": (json_request(PATH, GOOD)[:-20], 30)}
    ended = {}

    def drip(name, number):
        data, _ = kinds[name]
        with connect(server) as sock:
            sock.sendall(data)
            while time.monotonic() < begun + 45:
                with contextlib.suppress(ConnectionError):
                    sock.sendall(b" ")
                if closed(sock, 1):
                    ended[name, number] = time.monotonic() - begun
                    return

    threads = [threading.Thread(target=drip, args=(name, i)) for name in kinds for i in range(20)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        server.check_quick(0.25)
        assert exchange(server, json_request(PATH, GOOD)).seconds < 5
        time.sleep(0.5)
    assert len(ended) == len(threads)
    for (name, _), seconds in ended.items():
        assert kinds[name][1] - 1 <= seconds <= kinds[name][1] + 5, (name, seconds)


def test_ten_thousand_idle_connections(start_tiny):
    """They cost little, and 256 streams beside them are whole."""
    server = start_tiny("--connections", "11000")
    at_rest(server)
    before = server.rss()
    idle = [connect(server) for _ in range(9500)]
    try:
        wait_for(lambda: server.descriptors() > 9500, 10)
        body = GOOD | {"stream": True, "max_tokens": 20, "ignore_eos": True}
        answers = asyncio.run(gather([stream(server.port, PATH, body) for _ in range(256)], 256))
        assert all(answer.whole() for answer in answers)
        assert len({answer.text for answer in answers}) == 1
        assert (server.rss() - before) / len(idle) < 16 << 10
        server.check_quick()
    finally:
        for sock in idle:
            sock.close()
    wait_for(lambda: server.descriptors() < 100, 10)
    assert server.stop() == 0


def test_too_many_connections(start_tiny):
    server = start_tiny("--connections", "20")
    idle = [connect(server) for _ in range(20)]
    wait_for(lambda: server.descriptors() > 25, 5)
    answer = exchange(server, get())
    assert answer.status in (0, 503)
    for sock in idle:
        sock.close()
    wait_for(lambda: exchange(server, get()).status == 200, 5)
    assert server.stop() == 0


def test_no_file_descriptors_left(start_tiny):
    """accept() fails: nothing spins, and it goes on when there are some again."""
    server = start_tiny(prefix=("prlimit", "--nofile=100"))
    idle = [connect(server) for _ in range(300)]
    time.sleep(0.5)
    used = server.cpu_seconds()
    time.sleep(1)
    assert server.cpu_seconds() - used < 0.5
    assert server.alive()
    for sock in idle:
        sock.close()
    wait_for(lambda: exchange(server, get()).status == 200, 5)
    assert server.stop() == 0
