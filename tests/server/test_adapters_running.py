"""What happens to streams on real text when their adapter is replaced or removed under them."""

import json
import shutil
import threading

import pytest

from harness import error_of, wait_for
from variants import change_config

BODY = {"prompt": "The forest was dark, and", "max_tokens": 500, "temperature": 0, "ignore_eos": True}


@pytest.fixture
def folder(tmp_path, demo_adapters):
    for name in ("elf", "villain"):
        shutil.copytree(demo_adapters[name], tmp_path / "store" / name)
    return tmp_path


@pytest.fixture
def busy(start_server, smollm2, folder):
    server = start_server(smollm2, "--kv-memory", "128", "--adapters", folder)
    for name in ("elf", "villain"):
        load(server, name)
    yield server
    assert server.stop() == 0


def load(server, name, **fields):
    answer = server.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": f"store/{name}", **fields})
    assert answer.status_code == 200, answer.text


class Running:
    """A stream in the background, past its first token when this returns."""

    def __init__(self, server, model):
        self.answer = server.session.post(server.url + "/v1/completions", json=BODY | {"model": model, "stream": True}, stream=True, timeout=120)
        self.lines = self.answer.iter_lines()
        self.text, self.ended = "", False
        self.take()
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def take(self):
        line = next(self.lines, None)
        if line is None or line == b"data: [DONE]":
            self.ended = True
        elif line:
            self.text += json.loads(line[6:])["choices"][0]["text"]
        return not self.ended

    def read(self):
        while self.take():
            pass

    def wait(self):
        self.thread.join(60)
        assert self.ended and not self.thread.is_alive()
        return self.text


def test_streams_finish_on_the_version_they_began_with(busy, folder):
    before = busy.text(model="elf", **BODY)
    versions = [busy.get("/v1/adapters").json()["data"][0]["id"]]
    running = Running(busy, "elf")
    change_config(folder / "store" / "elf", lora_alpha=3)
    load(busy, "elf", load_inplace=True)
    assert not running.ended, "the answer was over too early for this test"
    after = busy.text(model="elf", **BODY)
    assert running.wait() == before != after
    versions.append(busy.get("/v1/adapters").json()["data"][0]["id"])
    assert versions[0] != versions[1]


def test_unload_while_streaming(busy):
    expected = busy.text(model="villain", **BODY)
    running = Running(busy, "villain")
    assert busy.post("/v1/unload_lora_adapter", {"lora_name": "villain"}).status_code == 200
    assert not running.ended, "the answer was over too early for this test"
    error_of(busy.post("/v1/completions", BODY | {"model": "villain"}), 404)
    assert "villain" not in busy.models()
    assert running.wait() == expected
    load(busy, "villain")
    assert busy.text(model="villain", **BODY) == expected


def test_unload_that_waits_for_the_memory(busy):
    resident = lambda: busy.get("/v1/adapters").json()["resident_bytes"]
    full = resident()
    running = Running(busy, "villain")
    assert busy.post("/v1/unload_lora_adapter", {"lora_name": "villain", "wait": True}, timeout=60).status_code == 200
    assert running.answer.raw.closed or running.wait() is not None
    assert resident() < full


def test_loading_delays_no_step(busy):
    """Eight reloads beside a stream: it is the same, and its tokens keep coming."""
    expected = busy.text(model="base", **BODY)
    running = Running(busy, "base")
    for _ in range(8):
        load(busy, "villain", load_inplace=True)
    assert running.wait() == expected
    wait_for(lambda: busy.running() == 0)
