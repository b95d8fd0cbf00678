#!/usr/bin/env python3
"""SIGKILL at random points of `chorus tune`, a quarter of them inside a save: the bytes must be those of a run left alone.

    python3 bench/tune_kills.py build/release/chorus smollm2 adapters/elf/data.jsonl --kills 200

A run is killed and resumed until it is done, then compared, and the next one begins. Exit status 1 where a resumed run
ended with other bytes, or not at all.
"""

import argparse
import hashlib
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

FLAGS = ("--steps", 8, "--batch", 2, "--rank", 16, "--dropout", 0.1, "--checkpoint-steps", 1, "--eval-every", 4)


def results(folder):
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and "checkpoints" not in path.parts]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def saving(checkpoints):
    """Whether some checkpoint has been begun and has no manifest yet."""
    try:
        return any(not (path / "manifest.json").exists() for path in checkpoints.iterdir())
    except FileNotFoundError:
        return False


def killed_run(command, out, draw, inside):
    """Runs until a random moment, or until a save is under way; returns whether it was done before, and if the kill was in a save."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    checkpoints, end = out / "checkpoints", time.monotonic() + draw.uniform(0.05, 3)
    saves = 0  # that are let pass
    while process.poll() is None:
        if not inside and time.monotonic() > end:
            break
        if inside and saving(checkpoints):
            if draw.random() < 0.5 or saves > 2:
                time.sleep(draw.uniform(0, 0.01))
                break
            saves += 1
            while process.poll() is None and saving(checkpoints):
                time.sleep(0.0005)
        time.sleep(0.0005)
    in_save = saving(checkpoints)
    process.kill()
    errors = process.communicate()[1]
    if process.returncode not in (0, -9):
        sys.exit(f"a resumed run failed: {errors.decode()}")
    return process.returncode == 0, in_save


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("chorus")
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--kills", type=int, default=20)
    args = parser.parse_args()
    draw, kills, in_saves, runs = random.Random(1), 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        command = [args.chorus, "tune", args.model, args.data, *FLAGS, "-o"]
        subprocess.run(list(map(str, [*command, folder / "whole"])), check=True, capture_output=True)
        whole = results(folder / "whole")
        while kills < args.kills:
            out = folder / "cut"
            shutil.rmtree(out, ignore_errors=True)
            done = False
            while not done:
                resume = list(map(str, [*command, out, "--resume"]))
                if kills >= args.kills:
                    subprocess.run(resume, check=True, capture_output=True)
                    break
                done, in_save = killed_run(resume, out, draw, draw.random() < 0.4)
                kills += not done
                in_saves += in_save and not done
            runs += 1
            if results(out) != whole:
                sys.exit(f"after {kills} kills a resumed run ended with other bytes")
            print(f"{kills} kills, {in_saves} inside a save, {runs} runs: the same bytes", file=sys.stderr)
    print(f"{kills} kills, {in_saves} of them inside a save, in {runs} runs that all ended with the bytes of one left alone")


if __name__ == "__main__":
    main()
