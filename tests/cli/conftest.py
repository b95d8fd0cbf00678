"""Fixtures of the command-line tests: the program, a real model, and a tiny model that any machine can load.

CHORUS_BIN names the program (default: build/release/chorus), CHORUS_CACHE the folder of smollm2.gguf (default
~/.cache/chorus). Tests that need what is not there are skipped and say so.
"""

import os
import pathlib

import pytest

import builders
import measurements
from process import Launcher

ROOT = pathlib.Path(__file__).parent.parent.parent
MODELS = ROOT / "tests" / "golden" / "models"
ADAPTERS = ROOT / "tests" / "golden" / "adapters"


@pytest.fixture(scope="session")
def chorus():
    """The program's path."""
    path = pathlib.Path(os.environ.get("CHORUS_BIN", ROOT / "build" / "release" / "chorus"))
    if not path.is_file():
        pytest.skip(f"no program at {path}; set CHORUS_BIN")
    return str(path)


@pytest.fixture(scope="session")
def run_program():
    """Launcher.run: runs any command."""
    launcher = Launcher()
    yield launcher.run
    launcher.close()


@pytest.fixture(scope="session")
def run_chorus(chorus, run_program):
    """Runs `chorus` with these arguments; see Launcher.run."""
    return lambda *arguments, **options: run_program([chorus, *arguments], **options)


@pytest.fixture(scope="session")
def smollm2():
    """The real model's GGUF file."""
    cache = pathlib.Path(os.environ.get("CHORUS_CACHE") or pathlib.Path.home() / ".cache" / "chorus")
    path = cache / "smollm2.gguf"
    if not path.is_file():
        pytest.skip(f"no model at {path}; ./run gets it")
    return path


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory):
    """A golden model of 160 tokens with a vocabulary, as a GGUF file."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    path.write_bytes(builders.tiny_model((MODELS / "llama_tied_q4_0.gguf").read_bytes()).pack())
    return path


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory):
    """The same model as a Hugging Face directory."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    builders.write_directory(folder, MODELS / "llama_tied")
    return folder


@pytest.fixture(scope="session")
def tiny_adapters():
    """Golden adapters for the tiny model, by name."""
    return {name: ADAPTERS / name for name in ("qv", "all_linear", "rank1", "ranks")}


@pytest.fixture(scope="session")
def demo_adapters():
    """The folders of adapters/ that have been tuned, by name."""
    return {path.parent.name: path.parent for path in sorted(ROOT.glob("adapters/*/adapter_model.safetensors"))}


def pytest_terminal_summary(terminalreporter):
    for line in [*measurements.table(), *measurements.notes()]:
        terminalreporter.write_line(line)
