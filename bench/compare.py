#!/usr/bin/env python3
"""Builds the table and the roofline of docs/performance.md: chorus beside llama.cpp, in turn, on the same files.

usage: compare.py CHORUS --llama-cpp BIN_DIR [--llama-cpp-avx2 BIN_DIR] [--ik BIN_DIR] --out DIR
                  [--models smollm2=PATH 3b=PATH] [--only GROUP...] [--repeat 3] [--docs DOCS_DIR]

A BIN_DIR holds llama-bench and, for the bursts and the memory, llama-server. What has no peer is a share of this
machine's int8 peak or read bandwidth, measured in the same process. Medians of the clean rounds (all programs of a
round had the machine to themselves), or of all if there are none, which the table says. The synthetic 3B model and the
adapters are written to DIR/models once (4 GB). Results are kept in DIR/results.json, so that groups can be run one by
one; with --docs the table and the picture are put into docs/performance.md. Needs nothing but Python.
"""
import argparse
import json
import os
import pathlib
import signal
import sys
import time

import roofline
import synthetic
import tables
from programs import (LlamaServer, Run, busy_thread, chorus_bench, chorus_burst, clean_rounds, in_turn, llama_bench,
                      middle, output_of)

CACHE = pathlib.Path(os.environ.get("CHORUS_CACHE") or pathlib.Path.home() / ".cache" / "chorus")


class Context:
    """The programs and models, and what every group of measurements needs of them."""

    def __init__(self, flags):
        self.chorus, self.repeat, self.threads = flags.chorus, flags.repeat, flags.threads
        self.llama, self.avx2, self.ik = flags.llama_cpp, flags.llama_cpp_avx2, flags.ik
        self.folder = pathlib.Path(flags.out) / "models"
        self.models = dict(part.split("=", 1) for part in flags.models)

    def model(self, name):
        if name in self.models:
            return self.models[name]
        if name == "smollm2":
            return CACHE / "smollm2.gguf"
        path = self.folder / f"{name}.gguf"
        self.write(path, lambda out: synthetic.base(name, out, self.model("smollm2")))
        return path

    def adapters(self, name, rank, count=8):
        paths = [self.folder / f"{name}-r{rank}-{i}.gguf" for i in range(count)]
        for seed, path in enumerate(paths):
            self.write(path, lambda out, seed=seed: synthetic.lora(self.model(name), out, rank, seed + 1))
        return paths

    def write(self, path, writer):
        if path.exists():
            return
        say(f"writing {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        writer(f"{path}.part")
        os.replace(f"{path}.part", path)

    def bench(self, name, *flags, **options):
        return chorus_bench(self.chorus, self.model(name), "--threads", self.threads, *flags, **options)

    def peers(self, name, **work):
        """The llama-bench of every peer at hand, by the peer's name."""
        runners = {}
        if self.llama:
            runners["llama.cpp"] = lambda: llama_bench(self.llama, self.model(name), self.threads, **work)
        if self.ik:
            runners["ik_llama.cpp"] = lambda: llama_bench(
                self.ik, self.model(name), self.threads, flags=("-rtr", 1), **work)
        return runners


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def row(work, figures, runs, checks):
    """A row of the table. `figures`: texts; `checks`: (value, what it is, "least" or "most", bound)."""
    return {"work": work, "figures": figures, "clean": len(clean_rounds(runs)), "rounds": len(next(iter(runs.values()))),
            "checks": [{"value": value, "what": what, "kind": kind, "bound": bound}
                       for value, what, kind, bound in checks],
            "values": {name: [run.value for run in of] for name, of in runs.items()},
            "foreign": {name: [round(run.foreign, 3) for run in of] for name, of in runs.items()}}


def rates(medians, unit="tok/s"):
    return [f"{name} {tables.number(value)} {unit}" for name, value in medians.items()]


def chorus_median(runs, *path):
    """The median of a figure of chorus's documents."""
    def value(run):
        found = run.details
        for key in path:
            found = found[key]
        return found
    return middle({"chorus": runs}, value)["chorus"]


def gemm(context):
    program = pathlib.Path(context.chorus).parent / "bench" / "kernel_bench"
    if not program.exists():
        raise RuntimeError(f"no {program}: build it with Google Benchmark at hand")
    shapes = ("3072x3072", "8192x3072", "3072x8192")
    command = [program, f"--benchmark_filter=linear/q4/({'|'.join(shapes)})/rows:512", "--benchmark_format=json"]

    def run():
        text, foreign, _ = output_of(command)
        shares = {item["name"].split("/")[2]: item["of_int8"] for item in json.loads(text)["benchmarks"]}
        return Run(min(shares.values()), foreign, shares)

    runs = in_turn(context.repeat, {"chorus": run})
    figures = [f"{shape} {chorus_median(runs['chorus'], shape):.2f}" for shape in shapes]
    least = min(chorus_median(runs["chorus"], shape) for shape in shapes)
    yield row("int4 GEMM, M = 512, 3B shapes", figures, runs, [(least, "of the int8 peak", "least", 0.80)])


PREFILL = ("--only", "prefill", "--prompt", 512, "--output", 2, "--requests", 1, "--adapters", 0)


def prefill(context, name, kernels=None, peers=None):
    def run():
        result = context.bench(name, *PREFILL, kernels=kernels)
        result.value = result.details["prefill"]["tokens_per_second"]
        return result

    return in_turn(context.repeat, {"chorus": run, **(peers or context.peers(name, prompt=512))})


def ratio_checks(medians, bounds):
    return [(medians["chorus"] / medians[peer], f"x {peer}", "least", bound)
            for peer, bound in bounds.items() if peer in medians]


def prefill_group(context, name, title, share, bounds):
    runs = prefill(context, name)
    medians = middle(runs)
    of_peak = chorus_median(runs["chorus"], "prefill", "of_int8_peak")
    checks = [(of_peak, "of the int8 peak", "least", share)] if share else []
    figures = rates(medians) + [f"{of_peak:.2f} of the int8 peak"]
    result = row(title, figures, runs, checks + ratio_checks(medians, bounds))
    result["documents"] = {f"{name} prefill": runs["chorus"][-1].details}
    yield result


def decode(context, name, *flags, kernels=None, peers=None):
    def run():
        result = context.bench(name, "--only", "decode", "--output", 128, *flags, kernels=kernels)
        result.value = result.details["decode"]["mean_tokens_per_second"]  # as llama-bench counts
        return result

    return in_turn(context.repeat, {"chorus": run, **(peers or context.peers(name, output=128))})


def decode_3b(context):
    runs = decode(context, "3b", "--requests", 8, "--adapters", 8, "--rank", 64)
    medians, figure = middle(runs), lambda *path: chorus_median(runs["chorus"], *path)
    ours = {"chorus": runs["chorus"]}
    result = row("decode, one sequence, 3B", rates(medians), runs,
                 [(figure("decode", "of_read_bandwidth"), "of read bandwidth", "least", 0.88)])
    result["documents"] = {"3b decode": runs["chorus"][-1].details}
    yield result
    yield row("decode, 8 sequences, no adapter, 3B", [f"{figure('decode_batch', 'tokens_per_second'):.1f} tok/s"], ours,
              [(figure("decode_batch", "of_one_sequence"), "x one sequence", "least", 5.5)])
    step = figure("decode_adapters", "seconds") / figure("decode_batch", "seconds")
    yield row("decode, 8 sequences, 8 adapters r64, 3B", [f"{figure('decode_adapters', 'tokens_per_second'):.1f} tok/s"],
              ours, [(figure("decode_adapters", "of_one_sequence"), "x one base sequence", "least", 4.3),
                     (step, "x the base step", "most", 1.5)])


def decode_smollm2(context):
    runs = decode(context, "smollm2", "--requests", 8, "--adapters", 8, "--rank", 16)
    medians, figure = middle(runs), lambda *path: chorus_median(runs["chorus"], *path)
    result = row("decode, one sequence, SmolLM2",
                 rates(medians) + [f"{figure('decode', 'of_read_bandwidth'):.2f} of read bandwidth"], runs,
                 ratio_checks(medians, {"llama.cpp": 2.0}))
    result["documents"] = {"smollm2 decode": runs["chorus"][-1].details}
    yield result
    eight = figure("decode_adapters", "mean_tokens_per_second")
    against = [(eight / medians[peer], f"x one sequence of {peer}", "least", bound)
               for peer, bound in (("llama.cpp", 900 / 167), ("ik_llama.cpp", 900 / 190)) if peer in medians]
    yield row("decode, 8 sequences, 8 adapters r16, SmolLM2", [f"{eight:.1f} tok/s"], runs, against)


def burst(context, name, rank, prompt, output, bound):
    paths, model = context.adapters(name, rank), context.model(name)
    with LlamaServer(context.llama, model, paths, context.threads) as server:
        server.burst(len(paths), 8, 8, 2)  # brings everything into memory
        runs = in_turn(context.repeat, {
            "chorus": lambda: chorus_burst(context.chorus, model, paths, 8, prompt, output, context.threads),
            "llama-server": lambda: server.burst(len(paths), 8, prompt, output)})
    medians = middle(runs)
    title = {"smollm2": "SmolLM2", "3b": "3B"}[name]
    yield row(f"burst of 8 requests, 8 adapters, {title} r{rank}, {prompt:,}/{output}", rates(medians, "s"), runs,
              [(medians["llama-server"] / medians["chorus"], "x llama-server", "least", bound)])


def tax(context):
    def run():
        result = context.bench("smollm2", "--only", "tax", "--requests", 8, "--adapters", 8, "--rank", 16)
        result.value = result.details["tax"]["base"]["seconds"]
        return result

    runs = in_turn(context.repeat, {"chorus": run})
    over = lambda case: 100 * (chorus_median(runs["chorus"], "tax", case, "of_base") - 1)
    base = f"base step {1e3 * chorus_median(runs['chorus'], 'tax', 'base', 'seconds'):.2f} ms"
    yield row("LoRA tax of a step of 8 rows, r16, SmolLM2", [base, f"8 adapters {over('many'):+.1f} %"], runs,
              [(over("all_rows"), "% with one adapter on all rows", "most", 15),
               (over("one_row"), "% with one adapter on one row", "most", 8)])
    yield row("base rows with and without a neighbour's adapter, SmolLM2",
              [base, f"without the neighbour's row {over('no_neighbour'):+.1f} %"], runs,
              [(over("one_row"), "% of the step for the neighbour's adapter", "most", 8)])


def foreign(context):
    def run(beside=None):
        result = context.bench("3b", *PREFILL, beside=beside)
        result.value = result.details["prefill"]["mean_tokens_per_second"]
        return result

    def disturbed():
        with busy_thread() as pid:
            return run(pid)

    runs = in_turn(context.repeat, {"alone": run, "beside a busy thread": disturbed})
    medians = middle(runs)
    loss = 100 * (1 - medians["beside a busy thread"] / medians["alone"])
    yield row("prefill 512, 3B, with one foreign busy thread", rates(medians), runs, [(loss, "% lost", "most", 35)])


def memory(context):
    paths, model = context.adapters("3b", 64), context.model("3b")
    ours = chorus_burst(context.chorus, model, paths, 8, 2048 - 16, 16, context.threads)
    with LlamaServer(context.llama, model, paths, context.threads) as server:
        server.burst(len(paths), 8, 64, 2)  # its keys and values are all in memory from the start
        theirs = server.peak_bytes()
    gigabytes = ours.details["peak_bytes"] / 1e9
    runs = {"chorus": [Run(gigabytes, 0)], "llama-server": [Run(theirs / 1e9, 0)]}
    yield row("peak memory, 3B, 8 adapters r64, 8 x 2,048 tokens", rates(middle(runs), "GB"), runs,
              [(gigabytes, "GB", "most", 4.0)])


def avx2(context):
    for name, title in (("3b", "3B"), ("smollm2", "SmolLM2")):
        peer = lambda **work: {"llama.cpp": lambda: llama_bench(context.avx2, context.model(name), context.threads, **work)}
        for what, runs in (
                ("prefill 512", prefill(context, name, "avx2", peer(prompt=512))),
                ("decode", decode(context, name, "--requests", 1, "--adapters", 0, kernels="avx2",
                                  peers=peer(output=128)))):
            medians = middle(runs)
            yield row(f"AVX2 only: {what}, {title}", rates(medians), runs, ratio_checks(medians, {"llama.cpp": 1.0}))


# Name: the measurement, and which of the peers' folders it cannot do without.
GROUPS = {
    "gemm": (gemm, None),
    "prefill-3b": (lambda c: prefill_group(c, "3b", "prefill 512, 3B", 0.62, {"llama.cpp": 2.5}), None),
    "prefill-smollm2": (lambda c: prefill_group(c, "smollm2", "prefill 512, SmolLM2", None,
                                                {"llama.cpp": 5.0, "ik_llama.cpp": 1.6}), None),
    "decode-3b": (decode_3b, None),
    "decode-smollm2": (decode_smollm2, None),
    "burst-smollm2-128": (lambda c: burst(c, "smollm2", 16, 128, 100, 8.0), "llama"),
    "burst-smollm2-1000": (lambda c: burst(c, "smollm2", 16, 1000, 100, 6.0), "llama"),
    "burst-3b": (lambda c: burst(c, "3b", 64, 64, 50, 4.5), "llama"),
    "tax": (tax, None),
    "foreign": (foreign, None),
    "memory": (memory, "llama"),
    "avx2": (avx2, "avx2"),
}


def measure(context, names, path):
    """Runs the groups and keeps what each gave; False if one failed."""
    results = json.loads(path.read_text()) if path.exists() else {}
    good = True
    for name in names:
        group, needs = GROUPS[name]
        if needs and not getattr(context, needs):
            say(f"{name}: left out, its peer is not given")
            continue
        say(name)
        try:
            rows = list(group(context))
        except RuntimeError as error:
            say(f"{name}: {error}")
            good = False
            continue
        results[name] = {"rows": rows, "measured": time.strftime("%Y-%m-%d %H:%M"), "machine": tables.machine()}
        path.write_text(json.dumps(results, indent=1) + "\n")
        print(tables.table({name: results[name]}), flush=True)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chorus")
    for name in ("--llama-cpp", "--llama-cpp-avx2", "--ik"):
        parser.add_argument(name, metavar="BIN_DIR")
    parser.add_argument("--models", nargs="*", default=[], metavar="NAME=PATH")
    parser.add_argument("--only", nargs="*", choices=GROUPS, default=list(GROUPS), metavar="GROUP")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", required=True)
    parser.add_argument("--docs", help="put table and picture into performance.md of this folder")
    flags = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the way out ends what we started
    out = pathlib.Path(flags.out)
    out.mkdir(parents=True, exist_ok=True)
    good = measure(Context(flags), flags.only, out / "results.json")
    results = json.loads((out / "results.json").read_text()) if (out / "results.json").exists() else {}
    ordered = {name: results[name] for name in GROUPS if name in results}
    table, picture = tables.table(ordered), roofline.svg(ordered)
    (out / "table.md").write_text(table)
    (out / "roofline.svg").write_text(picture)
    if flags.docs:
        tables.insert(pathlib.Path(flags.docs) / "performance.md", table)
        (pathlib.Path(flags.docs) / "roofline.svg").write_text(picture)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
