"""Fixtures of the server's tests: servers on tiny models and on the real one.

Takes the models of tests/cli/conftest.py, and its CHORUS_BIN and CHORUS_CACHE. Servers listen on loopback only.
"""

import importlib.util
import pathlib
import shutil
import sys
import warnings

import pytest

CLI_TESTS = pathlib.Path(__file__).parent.parent / "cli"
sys.path.append(str(CLI_TESTS))


def cli_fixtures():
    """tests/cli/conftest.py, under a name that is not this file's."""
    spec = importlib.util.spec_from_file_location("cli_fixtures", CLI_TESTS / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_cli = cli_fixtures()
chorus, run_program, run_chorus, smollm2 = _cli.chorus, _cli.run_program, _cli.run_chorus, _cli.smollm2
tiny_adapters, demo_adapters = _cli.tiny_adapters, _cli.demo_adapters
pytest_terminal_summary = _cli.pytest_terminal_summary

import builders  # noqa: E402  (beside cli_fixtures)
from harness import Server  # noqa: E402
from image_stub import ImageEngine  # noqa: E402
from pages import Pages  # noqa: E402
from variants import with_chat_template, write_variant  # noqa: E402

FLEET = [f"voice{i:02}" for i in range(32)]
TINY_FLAGS = {"--kv-memory": "32", "--threads": "2"}
warnings.filterwarnings("ignore", message="Unverified HTTPS request")


@pytest.fixture(scope="session")
def tiny_chat(tmp_path_factory):
    """The tiny model with a chat template: 160 tokens, each a printable letter or a filler; context 512."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    golden = builders.tiny_model((_cli.MODELS / "llama_tied_q4_0.gguf").read_bytes()).pack()
    path.write_bytes(with_chat_template(golden))
    return path


@pytest.fixture(scope="session")
def start_server(chorus):
    """Starts `chorus serve MODEL FLAGS...`; what is still running at the end of the session is ended."""
    servers = []

    def start(model, *flags, **options):
        servers.append(Server(chorus, model, *flags, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def start_tiny(start_server, tiny_chat):
    """Starts a server on the tiny model."""

    def start(*flags, **options):
        defaults = [part for flag in TINY_FLAGS.items() if flag[0] not in flags for part in flag]
        return start_server(tiny_chat, "--no-cache", *defaults, *flags, **options)

    return start


@pytest.fixture(scope="session")
def fleet_directory(tmp_path_factory, tiny_adapters):
    """A directory with 32 adapters of the tiny model, voice00 to voice31, whose answers all differ."""
    folder = tmp_path_factory.mktemp("fleet")
    sources = [tiny_adapters[name] for name in ("qv", "all_linear", "ranks")]
    for i, name in enumerate(FLEET):
        write_variant(sources[i % len(sources)], folder / name, i)
    return folder


@pytest.fixture(scope="session")
def server(start_tiny, tiny_adapters):
    """A server on the tiny model with the golden adapters qv, all_linear, rank1 and ranks; tests leave it as it is."""
    flags = [part for name, path in tiny_adapters.items() for part in ("--adapter", f"{name}={path}")]
    return start_tiny(*flags)


@pytest.fixture(scope="session")
def real(start_server, smollm2, demo_adapters, tmp_path_factory):
    """A server on SmolLM2 with the demo adapters, which tunes too."""
    flags = [part for name, path in demo_adapters.items() for part in ("--adapter", f"{name}={path}")]
    return start_server(smollm2, "--kv-memory", "96", "--tune-dir", tmp_path_factory.mktemp("jobs"), *flags)


@pytest.fixture(scope="session")
def browser():
    """Debian's chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if shutil.which("chromium") is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Opens the page of a server; what goes wrong in it fails the test at its end."""
    pages = Pages(browser)
    yield pages.open
    pages.close()
    assert pages.troubles == []


@pytest.fixture
def engine():
    """A stub of an image engine."""
    engine = ImageEngine()
    yield engine
    engine.close()


@pytest.fixture(autouse=True)
def servers_survive(request):
    """No test may end a server that others use."""
    yield
    for name in ("server", "real"):
        if name in request.fixturenames:
            running = request.getfixturevalue(name)
            assert running.alive(), running.errors()[-2000:]
