"""Runs chorus and its peers for compare.py, and says of each run whether the machine was ours. Only Python."""
import contextlib
import dataclasses
import json
import os
import random
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

CLEAN = 0.03  # of the processors may have been somebody else's
TICK = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass
class Run:
    """`value` is a rate or a time; `foreign` the share of the processors that others took, the host included."""

    value: float
    foreign: float
    details: dict = dataclasses.field(default_factory=dict)

    @property
    def clean(self):
        return self.foreign <= CLEAN


def busy_seconds():
    """Of all processors since the machine began: everything but idle and waiting."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICK


def process_seconds(pid):
    """Of a running process."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


class Watch:
    """The share of the processors that was not used by us, our children that have ended, or the process `pid`."""

    def __init__(self, pid=None):
        self.pid = pid
        self.start = time.monotonic(), busy_seconds(), self.own()

    def own(self):
        times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(t.ru_utime + t.ru_stime for t in times) + (process_seconds(self.pid) if self.pid else 0)

    def foreign(self):
        wall, busy, own = self.start
        spent = (time.monotonic() - wall) * os.cpu_count()
        return max(0.0, (busy_seconds() - busy - (self.own() - own)) / max(spent, 1e-9))


def output_of(command, env=None, beside=None, timeout=3600):
    """stdout, the foreign share and the peak memory of a command. `beside`: a process that runs on purpose. Raises
    with the end of stderr if it fails."""
    command = [str(part) for part in command]
    watch = Watch(beside)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env={**os.environ, **(env or {})})
        timer = threading.Timer(timeout, process.kill)
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
        for file in (out, err):
            file.seek(0)
        if process.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit {process.returncode}\n{err.read()[-2000:]}")
        return out.read(), watch.foreign(), usage.ru_maxrss * 1024


def chorus_bench(chorus, model, *flags, kernels=None, beside=None):
    """The document of `chorus bench --json` and the foreign share of the run."""
    env = {"CHORUS_KERNELS": kernels} if kernels else {}
    text, foreign, peak = output_of([chorus, "bench", model, *flags, "--json"], env, beside)
    return Run(0, foreign, json.loads(text) | {"process_peak_bytes": peak})


def llama_bench(folder, model, threads, prompt=0, output=0, flags=()):
    """tokens/s of a prefill or a decode, the median of two, by llama.cpp's or ik_llama.cpp's own measure."""
    command = [f"{folder}/llama-bench", "-m", model, "-t", threads, "-p", prompt, "-n", output, "-r", 2, "-o", "json"]
    text, foreign, _ = output_of([*command, *flags])
    return Run(statistics.median(json.loads(text)[0]["samples_ts"]), foreign)


def prompts(count, tokens, seed=1):
    rng = random.Random(seed)
    return [[rng.randrange(1000, 40000) for _ in range(tokens)] for _ in range(count)]


def chorus_burst(chorus, model, adapters, count, prompt, output, threads):
    """Seconds from the first request to the last token; loading is not in it."""
    with tempfile.TemporaryDirectory() as work:
        with open(f"{work}/in.jsonl", "w") as file:
            for i, ids in enumerate(prompts(count, prompt)):
                body = {"model": f"a{i % len(adapters)}", "prompt": ids, "max_tokens": output, "temperature": 0.8,
                        "ignore_eos": True}
                line = {"custom_id": f"r{i}", "method": "POST", "url": "/v1/completions", "body": body}
                file.write(json.dumps(line) + "\n")
        command = [chorus, "batch", model, f"{work}/in.jsonl", f"{work}/out.jsonl", "--threads", threads, "--json",
                   "--kv-memory", 4096]
        for i, path in enumerate(adapters):
            command += ["--adapter", f"a{i}={path}"]
        text, foreign, peak = output_of(command)
        summary = json.loads(text)
        if summary["failed"] or summary["output_tokens"] != count * output:
            raise RuntimeError(f"chorus batch did not answer whole: {text}")
        return Run(summary["seconds"], foreign, {"peak_bytes": peak})


class LlamaServer:
    """llama-server with all adapters loaded and none applied; each request names its own."""

    def __init__(self, folder, model, adapters, threads, slots=8, context=16384):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [f"{folder}/llama-server", "-m", model, "-np", slots, "-c", context, "-t", threads, "--lora",
                   ",".join(map(str, adapters)), "--lora-init-without-apply", "--no-webui", "--host", "127.0.0.1",
                   "--port", self.port]
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([str(part) for part in command], stdout=self.log, stderr=self.log)
        try:
            self.await_ready()
        except BaseException:
            self.close()
            raise

    def await_ready(self, timeout=600):
        end = time.monotonic() + timeout
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError):
                if urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5).status == 200:
                    return
            time.sleep(0.2)
        self.log.seek(0)
        raise RuntimeError(f"llama-server did not start:\n{self.log.read()[-2000:]}")

    def burst(self, adapters, count, prompt, output):
        """Seconds until all of `count` requests that are sent at once are answered."""
        bodies = [{"prompt": ids, "n_predict": output, "ignore_eos": True, "cache_prompt": False, "temperature": 0.8,
                   "lora": [{"id": i % adapters, "scale": 1.0}]} for i, ids in enumerate(prompts(count, prompt))]
        answers = [None] * count
        errors = []

        def call(i):
            url, data = f"http://127.0.0.1:{self.port}/completion", json.dumps(bodies[i]).encode()
            try:
                request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
                with urllib.request.urlopen(request, timeout=3600) as response:
                    answers[i] = json.load(response)
            except OSError as error:
                errors.append(str(error))

        watch, start = Watch(self.process.pid), time.monotonic()
        threads = [threading.Thread(target=call, args=(i,)) for i in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - start
        if errors or sum(answer["tokens_predicted"] for answer in answers) != count * output:
            raise RuntimeError(f"llama-server did not answer whole: {errors[:1]}")
        return Run(seconds, watch.foreign())

    def peak_bytes(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@contextlib.contextmanager
def busy_thread():
    """A process that keeps one processor busy."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def in_turn(repeat, runners):
    """Runs each of `runners` (name: function that gives a Run) in turn, `repeat` times; name: list of Runs."""
    runs = {name: [] for name in runners}
    for _ in range(repeat):
        for name, runner in runners.items():
            runs[name].append(runner())
    return runs


def clean_rounds(runs):
    """The indices of rounds whose runs were all clean."""
    return [i for i, turn in enumerate(zip(*runs.values())) if all(run.clean for run in turn)]


def middle(runs, value=lambda run: run.value):
    """name: median over the clean rounds, or over all if there are none."""
    rounds = clean_rounds(runs) or range(len(next(iter(runs.values()))))
    return {name: statistics.median(value(of[i]) for i in rounds) for name, of in runs.items()}
