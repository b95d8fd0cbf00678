"""Three replicas and the HAProxy of deploy/haproxy in front of them, on loopback addresses."""

import asyncio
import collections
import csv
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

from harness import Server, wait_for
from streams import Stream, stream

CONFIG = pathlib.Path(__file__).parent.parent.parent / "deploy" / "haproxy" / "haproxy.cfg"
ADDRESSES = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
PATH = "/v1/completions"
FLAGS = "--no-cache --kv-memory 32 --threads 1 --max-sequences 16 --drain-timeout 30 --access-log --allowed-host chorus"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


class Cluster:
    """`replicas` are the servers that run, by number; `port` is HAProxy's. Those that have been ended stay in
    `started`, with what they logged."""

    def __init__(self, chorus, model, adapters, folder):
        self.chorus, self.model, self.adapters = chorus, model, adapters
        self.replicas, self.started, self.ports, self.proxy = {}, [], {}, None
        self.streams = []  # of ask(): whole, running or broken
        for number in range(len(ADDRESSES)):
            self.start(number)
        self.port, self.control = free_port(), folder / "haproxy.sock"
        more = folder / "control.cfg"
        more.write_text(f"global\n  stats socket {self.control} mode 600\n")
        self.log = (folder / "haproxy.log").open("w+")
        self.proxy = subprocess.Popen(
            ["haproxy", "-db", "-f", CONFIG, "-f", more], env=self.environment(), stdout=self.log, stderr=self.log
        )
        wait_for(self.control.exists, 10, "HAProxy did not start")
        self.wait_up()

    def environment(self):
        servers = {f"CHORUS_{n + 1}": f"{ADDRESSES[n]}:{port}" for n, port in self.ports.items()}
        return os.environ | servers | {"CHORUS_LISTEN": f"127.0.0.1:{self.port}"}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self, number):
        """Starts replica `number`, where it was before. It loads its adapters yet when this returns."""
        place = ["--host", ADDRESSES[number], "--adapters", self.adapters]
        server = Server(self.chorus, self.model, *FLAGS.split(), *place, port=self.ports.get(number, 0))
        self.started.append((number, server))
        self.replicas[number], self.ports[number] = server, server.port

    def stop_amid_answers(self, number):
        """SIGSTOP at a moment when answers of replica `number` have begun and not ended; called while ask() runs.
        What it had sent by then soon reaches the clients; an answer that then stands still is one of its."""
        server = self.replicas[number]
        for _ in range(20):
            wait_for(lambda: server.metrics().value("vllm:num_requests_running") >= 4, 20, pause=0)
            server.signal(signal.SIGSTOP)
            time.sleep(0.3)
            begun = [(s, len(s.events)) for s in self.streams if s.events and not s.done and not s.broken]
            time.sleep(0.3)
            if any(len(s.events) == count and not s.done for s, count in begun):
                return
            server.signal(signal.SIGCONT)
        raise AssertionError("the replica was never stopped amid an answer")

    def kill(self, number):
        server = self.replicas.pop(number)
        server.process.kill()
        server.process.wait()

    def drain(self, number, seconds=40):
        """SIGTERM; the exit status once it has ended."""
        server = self.replicas.pop(number)
        server.signal()
        return server.process.wait(seconds)

    def states(self):
        """What HAProxy thinks of each replica, as UP or DOWN."""
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(self.control))
            link.sendall(b"show stat\n")
            text = link.makefile().read().removeprefix("# ")
        rows = csv.DictReader(text.splitlines())
        return [r["status"].split()[0] for r in rows if r["pxname"] == "engines" and r["svname"] != "BACKEND"]

    def wait_up(self):
        """Starts what does not run; returns when HAProxy knows exactly that all do."""
        for number in set(range(len(ADDRESSES))) - set(self.replicas):
            self.start(number)
        wait_for(lambda: self.states() == ["UP"] * len(ADDRESSES), 10, "a replica is not up")
        for server in self.replicas.values():
            wait_for(lambda: len(list(self.adapters.glob("[!.]*"))) < len(server.models()), 10, "adapters are missing")

    def answered(self):
        """{request id: [(replica, status), ...]} of the replicas' access logs."""
        seen = collections.defaultdict(list)
        for number, server in self.started:
            for line in server.errors().splitlines():
                if line.startswith("{") and line.endswith("}"):
                    entry = json.loads(line)
                    seen[entry["id"]].append((number, entry["status"]))
        return seen

    def requests_of(self):
        """{adapter: {replica: how many requests of it have ended there}}, from the running replicas' /metrics."""
        found = collections.defaultdict(dict)
        for number, server in self.replicas.items():
            server.wait_idle(20)
            for labels, value in server.metrics().named("chorus:adapter_requests_total"):
                of = found[labels["adapter"]]
                of[number] = of.get(number, 0) + value
        return found

    def since(self, before):
        """{adapter: the replicas that have answered requests of it since `before`, of requests_of()}."""
        now = self.requests_of()
        return {a: {n for n, v in of.items() if v > before.get(a, {}).get(n, 0)} for a, of in now.items()}

    def ask(self, bodies, at_once, action=None, after=0):
        """Streams these bodies through HAProxy, each under an id of its own; calls `action` in a thread once
        `after` of them have ended. Returns [(id, body, Stream), ...]."""
        return asyncio.run(self._ask(bodies, at_once, action, after))

    async def _ask(self, bodies, at_once, action, after):
        room, ended, acting = asyncio.Semaphore(at_once), [], []
        run = os.urandom(4).hex()

        async def one(number, body):
            async with room:
                name, answer = f"{run}-{number}", Stream()
                self.streams.append(answer)
                await stream(self.port, PATH, body, {"X-Request-Id": name}, seconds=60, result=answer)
            ended.append(name)
            if action and len(ended) == after:
                acting.append(asyncio.create_task(asyncio.to_thread(action)))
            return name, body, answer

        results = await asyncio.gather(*(one(i, body) for i, body in enumerate(bodies)))
        for task in acting:
            await task
        return results

    def close(self):
        for process in [self.proxy, *(server.process for _, server in self.started)]:
            if process and process.poll() is None:
                process.kill()
                process.wait()
        for _, server in self.started:
            server.close()
        self.log.close()
