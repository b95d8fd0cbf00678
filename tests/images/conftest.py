"""Fixtures of tests/images: stable-diffusion.cpp's server on random weights, and ours before it.

SD_SERVER is its program (scripts/sd_server.sh builds it); CHORUS_BIN ours.
"""

import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

HERE = pathlib.Path(__file__).parent
sys.path += [str(HERE.parent / "server"), str(HERE.parent / "cli")]
from harness import Server  # noqa: E402

SMOLLM2 = pathlib.Path(os.environ.get("CHORUS_CACHE", pathlib.Path.home() / ".cache/chorus")) / "smollm2.gguf"


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="session")
def sd_server(tmp_path_factory):
    """The address of the engine: the smallest model it takes, whose pictures are noise."""
    program = os.environ.get("SD_SERVER", "")
    if not os.access(program, os.X_OK):
        pytest.skip("SD_SERVER does not name stable-diffusion.cpp's server")
    folder = tmp_path_factory.mktemp("sd")
    subprocess.run(["/usr/bin/python3", HERE / "make_tiny_sd.py", "sd1-tiny", folder], check=True, stdout=subprocess.DEVNULL)
    port = free_port()
    command = [program, "-m", folder / "sd1-tiny.safetensors", "--taesd", folder / "taesd.safetensors", "-t", "2", "--listen-port", str(port)]
    with open(folder / "log", "wb") as log:
        engine = subprocess.Popen(command, stdout=log, stderr=log)
    url, begun = f"http://127.0.0.1:{port}", time.monotonic()
    while not answers(url + "/v1/models"):
        assert engine.poll() is None and time.monotonic() - begun < 120, (folder / "log").read_text(errors="replace")[-2000:]
        time.sleep(0.2)
    print(f"\nengine ready after {time.monotonic() - begun:.1f} s")
    yield url
    engine.terminate()
    engine.wait(20)


@pytest.fixture(scope="session")
def start(sd_server):
    """Starts our server before the engine, told of it as `prefix` says."""
    servers = []

    def started(prefix="", *flags):
        servers.append(Server(os.environ["CHORUS_BIN"], SMOLLM2, "--image-engine", prefix + sd_server, *flags))
        return servers[-1]

    yield started
    for server in servers:
        assert server.stop() == 0
