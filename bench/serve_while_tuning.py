#!/usr/bin/env python3
"""What a fine-tuning job costs those who are served beside it: time between tokens of 4 streams, without and with.

    python3 bench/serve_while_tuning.py build/release/chorus smollm2 adapters/elf/data.jsonl

The streams come in bursts, so that the job runs at full speed when each begins. Rounds without and with a job take turns;
printed are the medians of the rounds' p99 and of the ratios of the pairs, the same of the time to the first token, and what
the job got done.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
import urllib.request

from serve_crowd import gaps, send


def ask(url, method, path, body=None, kind="application/json"):
    request = urllib.request.Request(url + path, body, {"Content-Type": kind} if body else {}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def upload(url, path):
    with open(path, "rb") as file:
        content = file.read()
    head = b'--X7\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--X7\r\n'
    head += b'Content-Disposition: form-data; name="file"; filename="data.jsonl"\r\n\r\n'
    return ask(url, "POST", "/v1/files", head + content + b"\r\n--X7--\r\n", "multipart/form-data; boundary=X7")["id"]


class Job:
    """A job that runs from beginning to end of the block."""

    def __init__(self, url, file):
        self.url, self.file = url, file

    def __enter__(self):
        fields = {"model": "base", "training_file": self.file, "hyperparameters": {"n_epochs": 1000}}
        self.path = "/v1/fine_tuning/jobs/" + ask(self.url, "POST", "/v1/fine_tuning/jobs", json.dumps(fields).encode())["id"]
        while not self.steps():
            time.sleep(0.2)
        self.first = self.steps()
        return self

    def steps(self):
        events = ask(self.url, "GET", self.path + "/events?limit=1000")["data"]
        return max((event["data"].get("step", 0) for event in events), default=0)

    def __exit__(self, *_):
        time.sleep(1.1)  # the last steps have been told of
        self.done = self.steps() - self.first
        ask(self.url, "POST", self.path + "/cancel")
        ask_until_gone(self.url, self.path)


def ask_until_gone(url, path):
    while True:
        try:
            return ask(url, "DELETE", path)
        except urllib.error.HTTPError:
            time.sleep(0.2)


def first_token(address):
    """Seconds until a request has its first token."""
    begin = time.perf_counter()
    sock = send(address, {"prompt": f"{time.monotonic()} Once upon a time", "max_tokens": 1})
    seen = b""
    while b'"text"' not in seen:
        seen += sock.recv(1 << 16)
    sock.close()
    return time.perf_counter() - begin


def measure(address, bursts, tokens, pause):
    between, first = [], []
    for _ in range(bursts):
        time.sleep(pause)
        first.append(first_token(address))
        time.sleep(pause)
        between += gaps(address, 4, tokens)
    return sorted(between)[int(0.99 * len(between))], statistics.median(between), statistics.median(first)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chorus")
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--bursts", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds before each burst, in which the job runs")
    flags = parser.parse_args()
    rounds = {False: [], True: []}
    done = 0
    with tempfile.TemporaryDirectory() as folder:
        command = [flags.chorus, "serve", flags.model, "--port", "0", "--tune-dir", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                url = server.stdout.readline().split()[-1]
                address = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
                file = upload(url, flags.data)
                settings = flags.bursts, flags.tokens, flags.pause
                measure(address, 1, flags.tokens, 0)
                for repeat in range(flags.repeats):
                    for with_job in (False, True) if repeat % 2 == 0 else (True, False):
                        if not with_job:
                            rounds[False].append(measure(address, *settings))
                            continue
                        with Job(url, file) as job:
                            rounds[True].append(measure(address, *settings))
                        done += job.done
            finally:
                server.terminate()
                server.wait()
    for index, name in enumerate(("p99 between tokens", "median between tokens", "time to first token")):
        without, beside = ([one[index] for one in rounds[with_job]] for with_job in (False, True))
        ratio = statistics.median(b / w for w, b in zip(without, beside))
        print(f"{name}: {1e3 * statistics.median(without):.2f} ms without a job, "
              f"{1e3 * statistics.median(beside):.2f} ms with one: x {ratio:.3f}")  # fmt: skip
    print(f"steps of the job in {flags.repeats} rounds: {done}")


if __name__ == "__main__":
    main()
