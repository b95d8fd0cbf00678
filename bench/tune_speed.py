#!/usr/bin/env python3
"""Tokens/s and peak memory of LoRA tuning: `chorus tune` beside torch + PEFT on the same GGUF, in turn.

    python3 bench/tune_speed.py build/release/chorus ~/.cache/chorus/smollm2.gguf      # needs torch, transformers, peft, gguf

Both run the same shape: 4 sequences of 256 tokens a step, rank 16 on all linears, every token learned. torch runs in f32
and in bf16; a round is one run of each, and the medians of the rounds and of their ratios are printed.
"""

import argparse
import os
import pathlib
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time

BATCH, LENGTH, RANK, STEPS = 4, 256, 16, 12


def torch_run(path, kind):
    """Runs in a process of its own; prints tokens/s and bytes."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    folder, name = os.path.split(os.path.abspath(path))
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=getattr(torch, kind))
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    tokens = torch.randint(1000, 40000, (BATCH, LENGTH))
    for step in range(STEPS + 1):
        if step == 1:
            begun = time.monotonic()
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    print(STEPS * BATCH * LENGTH / (time.monotonic() - begun), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def torch_figures(path, kind):
    command = [sys.executable, __file__, path, path, "--torch", kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    return tuple(map(float, done.stdout.split()[-2:]))


def chorus_figures(chorus, path, text, folder):
    flags = ["--max-tokens", LENGTH + 1, "--val-split", 0, "--batch", BATCH, "--rank", RANK, "--alpha", 2 * RANK, "--steps", STEPS]
    output = pathlib.Path(folder) / f"out{time.monotonic_ns()}"
    done = subprocess.run(list(map(str, [chorus, "tune", path, text, "-o", output, *flags])), capture_output=True, text=True, check=True)
    rate, memory = re.findall(r"(\d+) tok/s", done.stderr)[-1], re.search(r"done; ([\d.]+) GB", done.stderr)[1]
    return float(rate), float(memory) * 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("chorus")
    parser.add_argument("gguf")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--torch", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.torch:
        return torch_run(args.gguf, args.torch)
    rows = {"torch float32": [], "torch bfloat16": [], "chorus": []}
    with tempfile.TemporaryDirectory() as folder:
        text = pathlib.Path(folder) / "text.txt"
        words = [f"word{i}" for i in range(500)]
        text.write_text(" ".join(random.Random(1).choices(words, k=60_000)))
        for _ in range(args.repeat):
            for name, figures in rows.items():
                kind = name.removeprefix("torch ")
                figures.append(chorus_figures(args.chorus, args.gguf, text, folder) if kind == "chorus" else torch_figures(args.gguf, kind))
    for name, figures in rows.items():
        ratio = statistics.median(ours[0] / theirs[0] for ours, theirs in zip(rows["chorus"], figures))
        rate, memory = (statistics.median(column) for column in zip(*figures))
        print(f"{name:15} {rate:7.0f} tokens/s  {memory / 1e9:5.2f} GB  chorus is {ratio:.2f} x")


if __name__ == "__main__":
    main()
