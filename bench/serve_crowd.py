#!/usr/bin/env python3
"""What a crowd of idle connections and slow readers costs the others: time between tokens of 8 streams, without and with.

    python3 bench/serve_crowd.py build/release/chorus smollm2

The slow readers' answers have been computed before: they read on, some bytes at a time, while the streams run. Rounds
without and with the crowd take turns; printed are the medians of the rounds' p99, and of the ratios of the pairs.
"""

import argparse
import json
import multiprocessing
import selectors
import socket
import statistics
import subprocess
import time


def send(address, fields, buffer=None):
    body = json.dumps({"model": "base", "prompt": "Tell me what you see.", "ignore_eos": True, "temperature": 0, "stream": True} | fields)
    sock = socket.socket()
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.connect(address)
    sock.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                 f"Content-Length: {len(body)}\r\n\r\n{body}".encode())  # fmt: skip
    return sock


def gaps(address, streams, tokens):
    """Seconds between the tokens of streams that run side by side."""
    selector, out = selectors.DefaultSelector(), []
    for i in range(streams):
        sock = send(address, {"prompt": f"{i} {time.monotonic()}", "max_tokens": tokens})
        selector.register(sock, selectors.EVENT_READ, [None, b""])
    while selector.get_map():
        for key, _ in selector.select():
            data, now = key.fileobj.recv(1 << 16), time.perf_counter()
            if b'"text"' in data:
                if key.data[0] is not None:
                    out.append(now - key.data[0])
                key.data[0] = now
            key.data[1] = key.data[1][-16:] + data
            if b"[DONE]" in key.data[1] or not data:
                selector.unregister(key.fileobj)
                key.fileobj.close()
    return out


def crowd(address, idle, slow, stop):
    sockets = [socket.create_connection(address) for _ in range(idle)]
    readers = [send(address, {"max_tokens": 100, "prompt": f"slow {i}"}, 4096) for i in range(slow)]
    while not stop.is_set():
        for sock in readers:
            sock.setblocking(False)
            try:
                sock.recv(16)
            except BlockingIOError:
                pass
            time.sleep(0.5 / slow)
    for sock in sockets + readers:
        sock.close()


class Crowd:
    """In a process of its own: it shall not keep the one that measures from running."""

    def __init__(self, *args):
        self.stop = multiprocessing.Event()
        self.process = multiprocessing.Process(target=crowd, args=(*args, self.stop))

    def __enter__(self):
        self.process.start()
        time.sleep(2)  # until all are connected
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.process.join()


def wait_idle(address):
    while True:
        with socket.create_connection(address) as sock:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            text = b""
            while piece := sock.recv(1 << 16):
                text += piece
        lines = [line for line in text.decode().splitlines() if line.startswith(("vllm:num_requests_running", "vllm:num_requests_waiting"))]
        if all(float(line.rsplit(" ", 1)[1]) == 0 for line in lines):
            return
        time.sleep(0.2)


def p99(values):
    return sorted(values)[int(0.99 * len(values))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("chorus")
    parser.add_argument("model")
    parser.add_argument("--idle", type=int, default=2000)
    parser.add_argument("--slow", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    server = subprocess.Popen([args.chorus, "serve", args.model, "--port", "0", "--connections", str(args.idle + args.slow + 100)],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # fmt: skip
    try:
        host, port = server.stdout.readline().split()[-1].removeprefix("http://").split(":")
        address = host, int(port)
        gaps(address, 8, 20)
        alone, crowded = [], []
        for _ in range(args.repeat):
            alone.append(p99(gaps(address, 8, args.tokens)))
            with Crowd(address, args.idle, args.slow):
                wait_idle(address)
                crowded.append(p99(gaps(address, 8, args.tokens)))
    finally:
        server.terminate()
        server.wait(20)
    ratio = statistics.median(b / a for a, b in zip(alone, crowded))
    print(f"p99 between tokens: {statistics.median(alone) * 1000:.1f} ms alone, {statistics.median(crowded) * 1000:.1f} ms beside "
          f"{args.idle} idle connections and {args.slow} slow readers, ratio of the pairs {ratio:.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
