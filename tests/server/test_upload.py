"""POST /v1/adapters/upload: an adapter's files, sent."""

import json
import os
import pathlib
import shutil
import threading
import time

import pytest

from harness import error_of, wait_for

PATH = "/v1/adapters/upload"


@pytest.fixture
def keeping(start_tiny, tmp_path):
    """A server with an empty directory for adapters, and that directory."""
    folder = tmp_path / "adapters"
    folder.mkdir()
    server = start_tiny("--adapters", folder)
    yield server, folder
    assert server.stop() == 0


def files_of(path):
    path = pathlib.Path(path)
    return {file.name: file.read_bytes() for file in ([path] if path.is_file() else sorted(path.iterdir())) if file.is_file()}


def send(server, name, files, **query):
    """Sends files {name: bytes}, or a list of such pairs."""
    pairs = files.items() if isinstance(files, dict) else files
    form = [("file", (filename, data, "application/octet-stream")) for filename, data in pairs]
    return server.session.post(server.url + PATH, params={"name": name, **query}, files=form, timeout=60)


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_folder(keeping, tiny_adapters):
    """It is loaded, answers as the one it was made from, is the directory's, and is there after a restart."""
    server, folder = keeping
    files = files_of(tiny_adapters["qv"]) | {"README.md": b"hello", ".gitattributes": b"x"}
    answer = send(server, "mine", {f"elf/{name}": data for name, data in files.items()})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["name"], told["residency"], told["valid"], told["error"]) == ("mine", "ready", True, None)
    assert set(told["ignored"]) >= {"README.md", ".gitattributes"} and told["rank"] > 0 and told["id"]
    assert "mine" in server.models() and server.text("Hello", "mine") != server.text("Hello")
    assert (folder / "mine" / "adapter_config.json").is_file() and not hidden(folder)
    wait_for(lambda: next(a for a in server.get("/v1/adapters").json()["data"] if a["name"] == "mine")["watched"], 5)
    loads = next(a for a in server.get("/v1/adapters").json()["data"] if a["name"] == "mine")["loads"]
    time.sleep(2.5)
    assert loads == 1 == next(a for a in server.get("/v1/adapters").json()["data"] if a["name"] == "mine")["loads"]
    shutil.rmtree(folder / "mine")
    wait_for(lambda: "mine" not in server.models(), 10)


def test_only_checked(keeping, tiny_adapters):
    server, folder = keeping
    told = send(server, "mine", files_of(tiny_adapters["qv"]), check="true").json()
    assert told["valid"] is True and told["rank"] > 0 and told["error"] is None
    assert "mine" not in server.models() and list(folder.iterdir()) == []
    files = files_of(tiny_adapters["qv"])
    files["adapter_model.safetensors"] = files["adapter_model.safetensors"][:-10]
    told = send(server, "mine", files, check="true").json()
    assert told["valid"] is False and "mine" in told["error"] and ".upload" not in told["error"]
    assert list(folder.iterdir()) == []


def test_what_does_not_fit(keeping, tiny_adapters, demo_adapters):
    server, folder = keeping
    error = error_of(send(server, "elf", files_of(demo_adapters["elf"])), 400)  # of another base
    assert "elf" in error["message"] and ".upload" not in error["message"]
    assert "elf" not in server.models() and list(folder.iterdir()) == []


def test_a_name_that_is_taken(keeping, tiny_adapters):
    server, folder = keeping
    assert send(server, "mine", files_of(tiny_adapters["qv"])).status_code == 200
    first = server.text("Hello", "mine")
    error = error_of(send(server, "mine", files_of(tiny_adapters["all_linear"])), 409)
    assert error["param"] == "name" and "replace=true" in error["message"]
    assert server.text("Hello", "mine") == first
    answer = send(server, "mine", files_of(tiny_adapters["all_linear"]), replace="true")
    assert answer.status_code == 200, answer.text
    assert server.text("Hello", "mine") != first and not hidden(folder)
    assert len(list(folder.iterdir())) == 1


def test_two_at_once(keeping, tiny_adapters):
    """One of them is it, whole; the other is told so."""
    server, folder = keeping
    answers = []
    sources = [files_of(tiny_adapters[name]) for name in ("qv", "all_linear")]
    threads = [threading.Thread(target=lambda files=files: answers.append(send(server, "mine", files))) for files in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert files_of(folder / "mine").keys() <= sources[0].keys() and files_of(folder / "mine") in [
        {name: data for name, data in files.items() if name in files_of(folder / "mine")} for files in sources
    ]
    assert not hidden(folder)


def test_a_gguf_file(keeping, run_chorus, tiny_chat, tiny_adapters, tmp_path):
    server, folder = keeping
    made = run_chorus("convert", tiny_adapters["qv"], tmp_path / "qv.gguf", "--to", "gguf", "--model", tiny_chat)
    assert made.rc == 0, made.err
    assert send(server, "mine", {"qv.gguf": (tmp_path / "qv.gguf").read_bytes()}).status_code == 200
    assert (folder / "mine.gguf").is_file() and server.text("Hello", "mine") != server.text("Hello")
    assert send(server, "mine", files_of(tiny_adapters["all_linear"]), replace="true").status_code == 200
    assert [path.name for path in folder.iterdir()] == ["mine"]


CONFIG, TENSORS = ("adapter_config.json", b"{}"), ("adapter_model.safetensors", b"x")
REFUSED = {
    "no config": ([TENSORS], "adapter_config.json is missing"),
    "no tensors": ([CONFIG], "adapter_model.safetensors"),
    "both tensors": ([CONFIG, TENSORS, ("adapters.safetensors", b"x")], "adapters.safetensors"),
    "twice": ([CONFIG, CONFIG, TENSORS], "twice"),
    "two GGUF": ([("a.gguf", b"x"), ("b.gguf", b"x")], "one file"),
    "GGUF and more": ([("a.gguf", b"x"), CONFIG], "one file"),
    "upwards": ([("../adapter_config.json", b"{}"), TENSORS], "no file's name"),
    "no name": ([("a/", b"{}"), TENSORS], "no name"),
    "nothing of use": ([("README.md", b"x")], "adapter_config.json is missing"),
    "no JSON": ([("adapter_config.json", b"{"), TENSORS], "mine"),
    "no GGUF": ([("a.gguf", b"no")], "mine"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(keeping, case):
    server, folder = keeping
    files, words = REFUSED[case]
    assert words in error_of(send(server, "mine", files), 400)["message"]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["", "base", "../x", "a/b", ".hidden", "a b", "x" * 300, "a@1"])
def test_names_that_are_none(keeping, tiny_adapters, name):
    server, folder = keeping
    assert error_of(send(server, name, files_of(tiny_adapters["qv"])), 400)["param"] == "name"
    assert list(folder.iterdir()) == [] and list(folder.parent.iterdir()) == [folder]


def test_queries_that_are_none(keeping, tiny_adapters):
    server, _ = keeping
    files = files_of(tiny_adapters["qv"])
    assert error_of(send(server, "mine", files, check="yes"), 400)["param"] == "check"
    assert error_of(send(server, "mine", files, frob="1"), 400)["param"] == "frob"
    assert server.post(PATH + "?name=mine", {}).status_code == 415


def test_a_disk_that_takes_nothing(keeping, tiny_adapters):
    server, folder = keeping
    shutil.rmtree(folder)
    error = error_of(send(server, "mine", files_of(tiny_adapters["qv"])), 503)
    assert "cannot be kept" in error["message"] and str(folder) not in error["message"]
    folder.mkdir()
    assert send(server, "mine", files_of(tiny_adapters["qv"])).status_code == 200


def test_who_may(start_tiny, tmp_path, tiny_adapters):
    (tmp_path / "adapters").mkdir()
    for name, key in (("keys", "sesame"), ("admin", "crown")):
        (tmp_path / name).write_text(key + "\n")
    server = start_tiny("--adapters", tmp_path / "adapters", "--api-key-file", tmp_path / "keys", "--admin-key-file", tmp_path / "admin")
    for key, status in ((None, 401), ("sesame", 403), ("crown", 200)):
        server.session.headers.pop("Authorization", None)
        if key:
            server.session.headers["Authorization"] = f"Bearer {key}"
        assert send(server, "mine", files_of(tiny_adapters["qv"])).status_code == status
    server.close()


def test_without_a_directory(server, tiny_adapters):
    assert "--adapters" in error_of(send(server, "mine", files_of(tiny_adapters["qv"])), 501)["message"]


def test_what_a_killed_server_left(start_tiny, tmp_path):
    """Is gone at the next start once it is old; another server's of now is left alone."""
    old, new = tmp_path / ".upload-aaaaaa", tmp_path / ".upload-bbbbbb"
    for path in (old, new):
        path.mkdir()
        (path / "adapter_config.json").write_text(json.dumps({}))
    os.utime(old, (time.time() - 7200,) * 2)
    server = start_tiny("--adapters", tmp_path)
    assert not old.exists() and new.exists()
    server.close()
