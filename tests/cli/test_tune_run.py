"""`chorus tune`: runs on the tiny model. What it computes is judged in src/train (gradients against torch + PEFT); here it is
whether a run is the same however it is cut, and how it ends."""

import hashlib
import json
import random
import shutil
import signal
import subprocess
import time

import pytest

from test_hostile_files import RUN
from test_tune import chat, chat_model, write_lines  # noqa: F401

FLAGS = ("--batch", 4, "--lr", "5e-3", "--rank", 4, "--dropout", "0.1", "--eval-every", 5)
WORDS = "the fox and owl met at dawn by an old mill".split()


@pytest.fixture(scope="module")
def elf(tmp_path_factory):
    draw = random.Random(1)
    records = [chat(" ".join(draw.choices(WORDS, k=3)), f"so said {draw.choice(WORDS)}") for _ in range(40)]
    return write_lines(tmp_path_factory.mktemp("data") / "elf.jsonl", records)


@pytest.fixture(scope="module")
def villain(tmp_path_factory):
    draw = random.Random(2)
    records = [chat(" ".join(draw.choices(WORDS, k=2)), f"never {draw.choice(WORDS)} again") for _ in range(25)]
    return write_lines(tmp_path_factory.mktemp("data") / "villain.jsonl", records)


def tune(run_chorus, *arguments):
    result = run_chorus("tune", *arguments)
    assert result.rc == 0, result.stderr
    return result


def results(folder):
    """Hashes of all that a run leaves, but for checkpoints."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and "checkpoints" not in path.parts]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_run(run_chorus, chat_model, elf, tmp_path):
    out = tmp_path / "out"
    result = tune(run_chorus, chat_model, elf, "-o", out, *FLAGS, "--json")
    verdict = json.loads(result.stdout)
    (base,), (tuned,) = verdict["losses"]
    assert verdict["sets"] == ["elf"] and tuned < base - 0.5
    assert {"adapter_config.json", "adapter_model.safetensors", "metrics.jsonl", "loss.svg", "samples.jsonl"} == set(results(out))
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, len(steps) + 1))
    held_out = [line["validation_loss"] for line in lines if "validation_loss" in line]
    assert min(held_out) == pytest.approx(tuned, rel=1e-6) and "held-out loss" in result.stderr
    (tmp_path / "scored.jsonl").write_text(elf.read_text())
    scored = run_chorus("eval", chat_model, tmp_path / "scored.jsonl", "--adapter", f"elf={out}", "--use", "elf", "--json")
    plain = run_chorus("eval", chat_model, tmp_path / "scored.jsonl", "--json")
    assert json.loads(scored.stdout)["nll"] < json.loads(plain.stdout)["nll"] - 0.5


def test_a_gguf_result(run_chorus, chat_model, elf, tmp_path):
    """Beside the PEFT directory, which stays the same; both are the same adapter."""
    out = tmp_path / "out"
    tune(run_chorus, chat_model, elf, "-o", out, *FLAGS, "--rslora", "--steps", 4, "--format", "gguf")
    assert set(results(out)) >= {"adapter_config.json", "adapter_model.safetensors", "adapter.gguf"}
    assert json.loads((out / "adapter_config.json").read_text())["use_rslora"] is True
    losses = set()
    for path in (out, out / "adapter.gguf"):
        scored = run_chorus("eval", chat_model, elf, "--adapter", f"elf={path}", "--use", "elf", "--exact", "--json")
        assert scored.rc == 0, scored.stderr
        losses.add(json.loads(scored.stdout)["nll"])
    assert len(losses) == 1
    converted = run_chorus("convert", out, tmp_path / "a.gguf", "--model", chat_model)
    assert converted.rc == 0 and (tmp_path / "a.gguf").read_bytes() == (out / "adapter.gguf").read_bytes()


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_a_short_result(run_chorus, chat_model, elf, tmp_path, dtype):
    """Half the bytes, nearly the same adapter."""
    tune(run_chorus, chat_model, elf, "-o", tmp_path / "f32", *FLAGS, "--sample-tokens", 0)
    tune(run_chorus, chat_model, elf, "-o", tmp_path / dtype, *FLAGS, "--sample-tokens", 0, "--dtype", dtype)
    sizes = [(tmp_path / name / "adapter_model.safetensors").stat().st_size for name in ("f32", dtype)]
    assert sizes[1] < 0.6 * sizes[0]
    use = lambda name: ("--adapter", f"elf={tmp_path / name}", "--use", "elf", "--exact", "--json")
    losses = [json.loads(run_chorus("eval", chat_model, elf, *use(name)).stdout)["nll"] for name in ("f32", dtype)]
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.02)


def test_samples(run_chorus, chat_model, elf, tmp_path):
    """One prompt all along: the base's answer, then one at each evaluation. They leave the run as it is."""
    run = tune(run_chorus, chat_model, elf, "-o", tmp_path / "out", *FLAGS, "--sample", "the owl", "--sample-tokens", 9)
    samples = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    lines = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines if "validation_loss" in line]
    assert [(sample["adapter"], sample["step"]) for sample in samples] == [("", 0), *(("elf", step) for step in steps)]
    assert len({sample["prompt"] for sample in samples}) == 1 and "the owl" in samples[0]["prompt"]
    assert samples[-1]["text"] != samples[0]["text"] and "  elf: " in run.stderr
    use = ("--adapter", f"elf={tmp_path / 'out'}", "--use", "elf", "--max-tokens", 9, "--temperature", 0)
    best = min((json.loads(line) for line in lines if "validation_loss" in line), key=lambda line: line["validation_loss"])
    served = run_chorus("run", chat_model, "-p", "the owl", *use, "--exact")
    sampled = samples[1 + steps.index(best["step"])]["text"]
    assert len(sampled) > 4 and served.stdout.strip()[:4] == sampled.strip()[:4]  # more would hang on rounding
    tune(run_chorus, chat_model, elf, "-o", tmp_path / "none", *FLAGS, "--sample-tokens", 0)
    without = results(tmp_path / "none")
    assert without == {name: value for name, value in results(tmp_path / "out").items() if name != "samples.jsonl"}


def test_dora(run_chorus, chat_model, elf, tmp_path):
    """The lengths are tuned, and what serves has them: it scores as the run itself did."""
    verdict = tune(run_chorus, chat_model, elf, "-o", tmp_path / "out", *FLAGS, "--dora", "--val", elf, "--json").stdout
    (base,), (tuned,) = json.loads(verdict)["losses"]
    assert tuned < base - 0.5
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["use_dora"] is True
    inspected = json.loads(run_chorus("inspect", tmp_path / "out", "--json").stdout)
    assert inspected["tensors"] == 3 * 21 and inspected["dora"] is True
    scored = run_chorus("eval", chat_model, elf, "--adapter", f"elf={tmp_path / 'out'}", "--use", "elf", "--exact", "--json")
    assert json.loads(scored.stdout)["nll"] == pytest.approx(tuned, rel=0.01)


def test_a_sweep(run_chorus, chat_model, elf, tmp_path):
    axes = ("--sweep", "lr=1e-4,5e-3", "--sweep", "rank=2,4")
    flags = (*FLAGS[:2], *FLAGS[6:])
    result = tune(run_chorus, chat_model, elf, "-o", tmp_path / "all", *flags, *axes, "--json")
    rows = json.loads(result.stdout)["sweep"]
    assert {(row["lr"], row["rank"]) for row in rows} == {(lr, rank) for lr in (1e-4, 5e-3) for rank in (2, 4)}
    assert [row["loss"] for row in rows] == sorted(row["loss"] for row in rows) and rows[0]["lr"] == 5e-3
    for row in rows:  # each is as if it were alone, but for the order of sums
        settings = ("--lr", row["lr"], "--rank", row["rank"])
        alone = tune(run_chorus, chat_model, elf, "-o", tmp_path / row["name"], *flags, *settings, "--json")
        assert json.loads(alone.stdout)["losses"][1][0] == pytest.approx(row["loss"], rel=5e-3)
        config = json.loads((tmp_path / "all" / row["name"] / "adapter_config.json").read_text())
        assert config["r"] == row["rank"]
    table = tune(run_chorus, chat_model, elf, "-o", tmp_path / "again", *flags, *axes).stdout.splitlines()
    assert table[1].split()[0] == rows[0]["name"] and table[1].endswith("best") and table[-1].startswith("the base")


@pytest.mark.parametrize(
    "flags, targets, layers",
    [
        (("--targets", "q_proj,down_proj", "--layers", "1-2"), ["q_proj", "down_proj"], [1, 2]),
        (("--targets", "lm_head,v_proj"), ["v_proj", "lm_head"], None),
        (("--targets", r".*\.[02]\.self_attn\.[qv]_proj"), ["q_proj", "v_proj"], [0, 2]),
        (
            ("--targets", r"model\.layers\.(0\.mlp\.up_proj|2\.self_attn\.o_proj)"),
            ["model.layers.0.mlp.up_proj", "model.layers.2.self_attn.o_proj"],
            None,
        ),
    ],
)
def test_targets(run_chorus, chat_model, elf, tmp_path, flags, targets, layers):
    """The result says what was adapted as PEFT understands it, and is read again whole."""
    tune(run_chorus, chat_model, elf, "-o", tmp_path, *FLAGS, "--steps", 2, *flags)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["target_modules"], config.get("layers_to_transform")) == (targets, layers)
    result = run_chorus("inspect", tmp_path, "--model", chat_model, "--json")
    modules = sum(1 if name.startswith("model.") or name == "lm_head" else len(layers or range(3)) for name in targets)
    assert json.loads(result.stdout)["tensors"] == 2 * modules, result.stderr
    other = run_chorus("tune", chat_model, elf, "-o", tmp_path, *FLAGS, "--steps", 2, "--targets", "v_proj", "--resume")
    assert other.rc == 1


def test_another_base_or_template_is_told_of(run_chorus, chat_model, tiny_gguf, elf, tmp_path):
    """One line, not a refusal; none where all is as it was, the adapter's own template counted."""
    out, other = tmp_path / "out", shutil.copytree(chat_model, tmp_path / "other")
    tune(run_chorus, chat_model, elf, "-o", out, *FLAGS, "--steps", 1, "--format", "gguf")
    (other / "chat_template.jinja").write_text("{{ messages[0].content }}")

    def told(model, adapter):
        result = run_chorus("run", model, "--adapter", f"elf={adapter}", "--use", "elf", *RUN)
        assert result.rc == 0, result.stderr
        document = json.loads(run_chorus("inspect", adapter, "--model", model, "--json").stdout)
        assert result.stderr == "".join(f"chorus: adapter elf: {line}\n" for line in document["warnings"])
        return result.stderr

    for adapter in (out, out / "adapter.gguf"):
        assert told(chat_model, adapter) == ""
        assert "tuned with base " in told(tiny_gguf, adapter)
        assert "tuned with chat template " in told(other, adapter) and told(other, adapter).count("\n") == 1
    shutil.copy(chat_model / "chat_template.jinja", out)
    assert told(other, out) == ""


def test_several_adapters_at_once(run_chorus, chat_model, elf, villain, tmp_path):
    """Each is better than the other on its own; that they ran together shows in nothing but rounding, to bf16 on AMX."""
    verdict = json.loads(tune(run_chorus, chat_model, elf, villain, "-o", tmp_path / "two", *FLAGS, "--json").stdout)
    losses = verdict["losses"]
    assert verdict["sets"] == ["elf", "villain"]
    assert losses[1][0] < losses[2][0] and losses[2][1] < losses[1][1]
    alone = json.loads(tune(run_chorus, chat_model, elf, "-o", tmp_path / "one", *FLAGS, "--json").stdout)
    assert alone["losses"][1][0] == pytest.approx(losses[1][0], rel=5e-3)
    assert (tmp_path / "two" / "villain" / "adapter_model.safetensors").exists()


@pytest.mark.parametrize("flags", [("--threads", 1), ("--threads", 3), ("--memory", 1)])
def test_the_same_bytes_however_it_is_run(run_chorus, chat_model, elf, tmp_path, flags):
    tune(run_chorus, chat_model, elf, "-o", tmp_path / "a", *FLAGS)
    tune(run_chorus, chat_model, elf, "-o", tmp_path / "b", *FLAGS, *flags)
    assert results(tmp_path / "a") == results(tmp_path / "b")


@pytest.mark.parametrize("flags", [("--moments", 8), ("--dora",)])
def test_killed_at_any_point(chorus, run_chorus, chat_model, elf, villain, tmp_path, flags):
    """SIGKILL after times at random, again and again until it is done: the bytes are those of one run."""
    arguments = [chat_model, elf, villain, *FLAGS, "--epochs", 20, *flags, "--checkpoint-steps", 1]
    tune(run_chorus, *arguments, "-o", tmp_path / "whole")
    command = list(map(str, [chorus, "tune", *arguments, "-o", tmp_path / "cut", "--resume"]))
    draw, kills = random.Random(flags[0]), 0
    for _ in range(60):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + (draw.uniform(0.03, 0.25) if kills < 25 else 120)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.kill()
        errors = process.communicate()[1]
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, errors
        kills += 1
    assert process.returncode == 0 and kills > 3
    assert results(tmp_path / "cut") == results(tmp_path / "whole")
    assert len(list((tmp_path / "cut" / "checkpoints").iterdir())) == 2


def test_interrupted(chorus, run_chorus, chat_model, elf, tmp_path):
    command = [chorus, "tune", chat_model, elf, *FLAGS, "--epochs", 2000, "-o", tmp_path / "out"]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("step "):
            break
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "--resume goes on" in errors
    again = run_chorus("tune", chat_model, elf, *FLAGS, "--epochs", 2000, "-o", tmp_path / "out")
    assert again.rc == 1 and "--resume" in again.stderr
    other = run_chorus("tune", chat_model, elf, *FLAGS, "--epochs", 2001, "-o", tmp_path / "out", "--resume")
    assert other.rc == 1 and "other data or settings" in other.stderr.splitlines()[-1]


def test_a_disk_that_fills_up(chorus, run_chorus, chat_model, elf, tmp_path):
    """The last good checkpoint stays, and a run goes on from it to the bytes of one left alone."""
    arguments = [chat_model, elf, *FLAGS, "--epochs", 6, "--checkpoint-steps", 1]
    tune(run_chorus, *arguments, "-o", tmp_path / "whole")
    out = tmp_path / "out"
    command = list(map(str, [chorus, "tune", *arguments, "-o", out]))
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    good = out / "checkpoints" / "step-00000003" / "manifest.json"
    deadline = time.monotonic() + 60
    while not good.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.wait()
    saved = {path: path.read_bytes() for path in sorted((out / "checkpoints").rglob("*")) if path.is_file()}
    assert process.returncode == -signal.SIGKILL and any(path.name == "manifest.json" for path in saved)
    newest = max(path.parent for path in saved if path.name == "manifest.json")
    ignore = lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    full = subprocess.run(
        ["prlimit", "--fsize=20000", *command, "--resume"], capture_output=True, text=True, timeout=120, preexec_fn=ignore
    )
    assert full.returncode == 1 and "no checkpoint at step" in full.stderr, full.stderr
    assert all(path.read_bytes() == data for path, data in saved.items() if path.parent == newest)
    tune(run_chorus, *arguments, "-o", out, "--resume")
    assert results(out) == results(tmp_path / "whole")


def test_a_full_disk(chorus, chat_model, elf, tmp_path):
    """Checkpoints cannot be written: that is said, the run goes on, and what was saved before is whole."""
    command = list(map(str, [chorus, "tune", chat_model, elf, *FLAGS, "-o", tmp_path / "out", "--checkpoint-steps", 5]))
    ignore = lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write past the limit fails as on a full disk
    full = subprocess.run(
        ["prlimit", "--fsize=20000", *command], capture_output=True, text=True, timeout=120, preexec_fn=ignore
    )
    assert full.returncode == 1 and "no checkpoint at step 5" in full.stderr
    assert "adapter_model.safetensors" in full.stderr.splitlines()[-1]
    assert not (tmp_path / "out" / "adapter_model.safetensors").exists()
    rest = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=120)
    assert rest.returncode == 0, rest.stderr


@pytest.mark.parametrize(
    "flags, says",
    [
        ((), "-o DIR is missing"),
        (("-o", "{out}", "--targets", "q_proj,x"), 'targets "q_proj,x"'),
        (("-o", "{out}", "--layers", "0-99"), "of this model's layers 0-2"),
        (("-o", "/proc/x/y"), "/proc/x/y"),
        (("-o", "{out}", "--lr", "9"), "the loss is no number"),
        (("-o", "{out}", "--sweep", "rank=4,4"), "stands there twice"),
        (("-o", "{out}", "--sweep", "rank=1.5"), "whole number from 1 to 256"),
        (("-o", "{out}", "--sweep", "epochs=1"), "must be lr=, rank= or alpha="),
        (("-o", "{out}", "--sweep", "lr=1e-4,"), 'lr: "" must be a number'),
        (("-o", "{out}", "--sweep", "rank=" + ",".join(map(str, range(1, 66)))), "more than 64"),
        (("-o", "{out}", "--targets", "lm_head", "--format", "gguf"), "GGUF has no name for that"),
        (("-o", "{out}", "--dora", "--format", "gguf"), "DoRA"),
        (("-o", "{out}", "--dora", "--targets", "lm_head,v_proj"), "lm_head cannot be tuned with DoRA"),
    ],
)
def test_refused(run_chorus, chat_model, elf, tmp_path, flags, says):
    flags = [str(flag).replace("{out}", str(tmp_path / "out")) for flag in flags]
    result = run_chorus("tune", chat_model, elf, *flags)
    assert result.rc == 1 and says in result.stderr.splitlines()[-1], result.stderr


def test_data_of_one_name(run_chorus, chat_model, elf, tmp_path):
    other = write_lines(tmp_path / "elf.jsonl", [chat("a", "b")] * 4)
    result = run_chorus("tune", chat_model, elf, other, "-o", tmp_path / "out")
    assert result.rc == 1 and result.stderr.startswith("chorus: elf: two of the data")
