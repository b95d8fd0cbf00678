"""`chorus eval` against what transformers and PEFT compute in float32 on the same dequantized weights, as
bench/accuracy.py --write-golden recorded it. Needs the smollm2 model in the cache; CHORUS_BIN is the binary.
"""
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("CHORUS_BIN", str(ROOT / "build" / "release" / "chorus"))
MODEL = Path(os.environ.get("CHORUS_CACHE") or Path.home() / ".cache" / "chorus") / "smollm2.gguf"
GOLDEN = json.loads((ROOT / "tests" / "golden" / "eval" / "expected.json").read_text())
ADAPTERS = {name: ROOT / "adapters" / name for name in GOLDEN["sha256"]["adapters"]}
TEXT = ROOT / GOLDEN["text"]
TOLERANCE = 0.005  # of perplexity

needs_model = pytest.mark.skipif(not MODEL.exists(), reason=f"no {MODEL}")


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@needs_model
def test_golden_is_of_these_files():
    """A retrained adapter or an edited text wants bench/accuracy.py --write-golden."""
    weights = {name: sha256(folder / "adapter_model.safetensors") for name, folder in ADAPTERS.items()}
    assert GOLDEN["sha256"] == {"model": sha256(MODEL), "text": sha256(TEXT), "adapters": weights}


def evaluate(case, *flags):
    """`chorus eval`'s document for a case of the golden file."""
    command = [BINARY, "eval", "smollm2", str(TEXT), "--json", *flags]
    for name, folder in ADAPTERS.items():
        command += ["--adapter", f"{name}={folder}"]
    if GOLDEN["cases"][case]["use"]:
        command += ["--use", GOLDEN["cases"][case]["use"]]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@needs_model
@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_perplexity(case):
    expected = GOLDEN["cases"][case]
    score = evaluate(case)
    assert score["tokens"] == expected["tokens"]
    assert score["perplexity"] == pytest.approx(expected["perplexity"], rel=TOLERANCE)


@needs_model
def test_exact_is_nearer_to_the_reference():
    """Over several cases, as one perplexity may be near by chance."""
    cases = ("base", "elf")
    off = lambda case, *flags: abs(evaluate(case, *flags)["perplexity"] / GOLDEN["cases"][case]["perplexity"] - 1)
    exact = sum(off(case, "--exact") for case in cases)
    assert exact < TOLERANCE / 50
    assert 10 * exact < sum(off(case) for case in cases)
