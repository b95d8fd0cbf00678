#!/usr/bin/env python3
"""Four adapters tuned in one run beside four runs of one each, at short examples: wall time of the whole commands.

    python3 bench/tune_together.py build/release/chorus smollm2

Examples of 64 tokens, rank 16 on all linears, the same number of steps; for each batch size, in turn, the medians of the
rounds' ratios. Where a step of one adapter alone fills a pass (256 tokens), together saves the start only.
"""

import argparse
import pathlib
import random
import statistics
import subprocess
import tempfile
import time

LENGTH, RANK, ADAPTERS = 64, 16, 4


def seconds_of(command):
    begun = time.monotonic()
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return time.monotonic() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("chorus")
    parser.add_argument("model")
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--steps", type=int, default=32, help="at batch 1; fewer at larger ones, at least 8")
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    draw = random.Random(1)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        data = [folder / f"voice{i}.txt" for i in range(ADAPTERS)]
        for file in data:
            file.write_text(" ".join(f"word{draw.randrange(500)}" for _ in range(20_000)))
        for batch in args.batch:
            flags = ["--max-tokens", LENGTH + 1, "--val-split", 0, "--batch", batch, "--rank", RANK, "--sample-tokens", 0]
            flags += ["--steps", max(8, args.steps // batch)]
            ratios, last = [], ()
            for round in range(args.repeat):
                out = [folder / f"{batch}-{round}-{i}" for i in range(ADAPTERS + 1)]
                together = seconds_of([args.chorus, "tune", args.model, *data, "-o", out[-1], *flags])
                apart = sum(seconds_of([args.chorus, "tune", args.model, file, "-o", place, *flags]) for file, place in zip(data, out))
                ratios.append(apart / together)
                last = (together, apart)
            print(f"batch {batch}: together {last[0]:.1f} s, one by one {last[1]:.1f} s, {statistics.median(ratios):.2f} x", flush=True)


if __name__ == "__main__":
    main()
