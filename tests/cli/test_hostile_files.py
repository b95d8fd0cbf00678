"""No file crashes the program, holds it up or fills the memory: it is refused, in one line that says why."""

import os
import random
import shutil

import pytest

import builders
import hostile_adapters
import hostile_models
from conftest import ADAPTERS, MODELS
from hostile_models import MIB
from measurements import measured
from process import signal_name

RUN = ("-p", "x", "--raw", "--max-tokens", "1", "--threads", "1")


def check_refused(result, file=None, says=()):
    """Exit 1, nothing on stdout, one line that names the file and the field."""
    assert result.rc == 1, f"exit {signal_name(result.rc)}: {result.stderr[-500:]}"
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1 and result.stderr.endswith("\n"), result.stderr[:2000]
    assert len(result.stderr) < 1000
    for text in (str(file) if file else "", *says):
        assert text in result.stderr, f"{text!r} is not in {result.stderr!r}"


def check_small(result, max_rss=64 * MIB):
    assert result.max_rss < max_rss, f"{result.max_rss >> 20} MiB"


def check_either(result, max_rss=64 * MIB):
    """Accepted, or refused in one line: never a signal."""
    check_small(result, max_rss)
    if result.rc != 0:
        check_refused(result)


def check_model_case(run_chorus, case, name):
    """`run` must refuse; `inspect` and `tokenize`, which read less, may not see what is wrong."""
    result = measured(name, run_chorus("run", case.path, *RUN))
    check_refused(result, case.file, case.says)
    check_small(result, case.max_rss)
    for arguments in (("inspect", case.path), ("tokenize", case.path, "x")):
        result = measured(name, run_chorus(*arguments))
        check_either(result, case.max_rss)
        if result.rc != 0:
            check_refused(result, case.file, case.says)


@pytest.mark.parametrize("name", hostile_models.GGUF_CASES)
def test_gguf_model(run_chorus, tmp_path, name):
    case = hostile_models.GGUF_CASES[name](tmp_path, (MODELS / "llama_tied_q4_0.gguf").read_bytes())
    check_model_case(run_chorus, case, name)


@pytest.mark.parametrize("name", hostile_models.DIRECTORY_CASES)
def test_directory_model(run_chorus, tmp_path, name):
    check_model_case(run_chorus, hostile_models.DIRECTORY_CASES[name](tmp_path, MODELS / "llama_tied"), name)


@pytest.mark.parametrize("name", hostile_adapters.CASES)
def test_adapter(run_chorus, tiny_gguf, tmp_path, name):
    case = hostile_adapters.CASES[name](tmp_path, ADAPTERS / "qv")
    for arguments in (
        ("inspect", case.path, "--model", tiny_gguf),
        ("run", tiny_gguf, "--adapter", f"a={case.path}", "--use", "a", *RUN),
    ):
        result = measured(name, run_chorus(*arguments))
        check_refused(result, case.file, case.says)
        check_small(result, case.max_rss)
    check_either(measured(name, run_chorus("inspect", case.path)), case.max_rss)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_valid_adapter_of_rank_64_loads(run_chorus, tiny_gguf, tmp_path, dtype):
    path = hostile_adapters.zero_adapter(tmp_path / "adapter", 64, dtype)
    result = run_chorus("run", tiny_gguf, "--adapter", f"a={path}", "--use", "a", *RUN)
    assert (result.rc, result.stderr) == (0, "")
    assert len(result.adapters) == 1


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".x", "a b", "a\nb", "x" * 300, "a+b", "a@1", "base"])
def test_adapter_name(run_chorus, tiny_gguf, tiny_adapters, name):
    result = run_chorus("run", tiny_gguf, "--adapter", f"{name}={tiny_adapters['qv']}", *RUN)
    check_refused(result, says=("adapter",))


def test_models_untouched_are_accepted(run_chorus, tiny_gguf, tiny_directory):
    for model in (tiny_gguf, tiny_directory):
        for arguments in (("inspect", model), ("tokenize", model, "x"), ("run", model, *RUN)):
            result = measured("(good)", run_chorus(*arguments))
            assert (result.rc, result.stderr) == (0, ""), arguments
            check_small(result)


def test_truncated_anywhere(run_chorus, tiny_gguf, tmp_path):
    """At every 64th byte of the header and now and then in the data."""
    data, path = tiny_gguf.read_bytes(), tmp_path / "cut.gguf"
    header = len(builders.read_gguf(data).header())
    for size in [*range(1, header, 64), *range(header, len(data), 4096), len(data) - 32]:
        path.write_bytes(data[:size])
        result = measured("4 truncated", run_chorus("inspect", path))
        check_refused(result, path)
        check_small(result)


def test_random_bytes_in_the_header(run_chorus, tiny_gguf, tmp_path):
    data, path = tiny_gguf.read_bytes(), tmp_path / "damaged.gguf"
    header = len(builders.read_gguf(data).header())
    for seed in range(200):
        rng = random.Random(seed)
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(header)] = rng.randrange(256)
        path.write_bytes(damaged)
        command = rng.choice([("inspect", path), ("tokenize", path, "x y"), ("run", path, *RUN)])
        check_either(measured("random bytes", run_chorus(*command)), 128 * MIB)


def test_truncated_real_model(run_chorus, smollm2, tmp_path):
    path = tmp_path / "cut.gguf"
    shutil.copyfile(smollm2, path)
    size = path.stat().st_size
    for length in (size - 1, size // 2, 10 * MIB, MIB, 100_000, 1000, 24, 7):
        os.truncate(path, length)
        for arguments in (("inspect", path), ("run", path, *RUN)):
            result = measured("real model truncated", run_chorus(*arguments))
            check_refused(result, path)
            check_small(result)


def special_files(folder):
    """Things that are no regular file with content, by name."""
    fifo, empty, sparse = folder / "fifo", folder / "empty", folder / "sparse"
    os.mkfifo(fifo)
    empty.touch()
    sparse.touch()
    os.truncate(sparse, 1 << 40)
    bare = folder / "bare"
    bare.mkdir()
    dangling, loop = folder / "dangling", folder / "loop"
    dangling.symlink_to(folder / "nothing")
    loop.symlink_to(loop)
    odd = folder / "line\nbreak"
    odd.write_bytes(b"junk")
    return {
        "FIFO": fifo,
        "/dev/zero": "/dev/zero",
        "/dev/null": "/dev/null",
        "empty": empty,
        "sparse 1 TB": sparse,
        "empty folder": bare,
        "dangling link": dangling,
        "link to itself": loop,
        "line break in the name": odd,
        "beneath a file": empty / "model",
        "long name": folder / ("x" * 300),
        "no such": folder / "nothing",
    }


def test_special_files_as_models_and_adapters(run_chorus, tiny_gguf, tmp_path):
    for name, path in special_files(tmp_path).items():
        for arguments in (
            ("inspect", path),
            ("tokenize", path, "x"),
            ("run", path, *RUN),
            ("run", tiny_gguf, "--adapter", f"a={path}", *RUN),
            ("run", tiny_gguf, "--adapters", path, "--use", "a", *RUN),
            ("eval", tiny_gguf, path if name != "line break in the name" else tmp_path),
        ):
            result = measured(name, run_chorus(*arguments, timeout=10))
            check_refused(result)
            check_small(result)


def test_special_files_inside_directories(run_chorus, tiny_gguf, tiny_directory, tmp_path):
    special = special_files(tmp_path)
    for name in ("FIFO", "/dev/zero", "empty", "sparse 1 TB", "empty folder", "dangling link", "link to itself"):
        for file in ("config.json", "model.safetensors", "tokenizer.json"):
            model = tmp_path / f"{special[name]!s}_{file}".replace("/", "_")
            shutil.copytree(tiny_directory, model)
            (model / file).unlink()
            (model / file).symlink_to(special[name])
            result = measured(name, run_chorus("run", model, *RUN, timeout=10))
            check_refused(result, model / file)
            check_small(result)
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            adapter = tmp_path / f"{special[name]!s}_{file}".replace("/", "_")
            shutil.copytree(ADAPTERS / "qv", adapter)
            (adapter / file).unlink()
            (adapter / file).symlink_to(special[name])
            result = measured(name, run_chorus("run", tiny_gguf, "--adapter", f"a={adapter}", *RUN, timeout=10))
            check_refused(result, adapter)
            check_small(result)


def test_links_to_files_are_files(run_chorus, tiny_gguf, tiny_adapters, tmp_path):
    model, adapter = tmp_path / "link.gguf", tmp_path / "adapter"
    model.symlink_to(tiny_gguf)
    adapter.symlink_to(tiny_adapters["qv"])
    result = run_chorus("run", model, "--adapter", f"a={adapter}", "--use", "a", *RUN)
    assert (result.rc, result.stderr) == (0, "")
