"""Adapters that come and go while the server runs: vLLM's paths, the watched directory, the memory budget, the
Gateway API's lora-syncer."""

import shutil
import time

import pytest

from harness import error_of, wait_for
from lora_syncer import LoraSyncer
from variants import change_config, replace, variant_bytes, write_variant

PROMPT = "Who rules this forest?"


@pytest.fixture
def folder(tmp_path, tiny_adapters):
    """An adapter directory: one adapter that is watched, and others beneath store/, which are loaded by path."""
    write_variant(tiny_adapters["qv"], tmp_path / "first", 0)
    for i, name in enumerate(("a", "b", "c")):
        write_variant(tiny_adapters["all_linear"], tmp_path / "store" / name, 10 + i)
    bad = write_variant(tiny_adapters["all_linear"], tmp_path / "store" / "bad", 20)
    change_config(bad, r=7)
    return tmp_path


@pytest.fixture
def live(start_tiny, folder):
    server = start_tiny("--adapters", folder)
    wait_for(lambda: "first" in server.models())
    yield server
    assert server.stop() == 0


def load(server, name, path, **fields):
    return server.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(path), **fields})


def unload(server, name, **fields):
    return server.post("/v1/unload_lora_adapter", {"lora_name": name, **fields})


def adapter_id(server, model):
    return server.post("/v1/completions", {"model": model, "prompt": "x", "max_tokens": 1}).headers["x-adapter-id"]


def status(server, name):
    return {entry["name"]: entry for entry in server.get("/v1/adapters").json()["data"]}.get(name)


def test_vllms_statuses_and_texts(live, folder):
    answer = load(live, "a", folder / "store" / "a", base_model_name="base", is_3d_lora_weight=False)
    assert (answer.status_code, answer.text) == (200, "Success: LoRA adapter 'a' added successfully.")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "a" in live.models() and live.models()["a"]["parent"] == "base"
    again = error_of(load(live, "a", "store/a"), 400)
    assert again["message"] == (
        "The lora adapter 'a' has already been loaded. If you want to load the adapter in place, set 'load_inplace' to True."
    )
    for body in ({"lora_name": "x"}, {"lora_path": "store/a"}, {}, {"lora_name": "", "lora_path": ""}):
        error = error_of(live.post("/v1/load_lora_adapter", body), 400)
        assert error["message"] == "Both 'lora_name' and 'lora_path' must be provided."
    error_of(load(live, "x", folder / "store" / "nothing"), 404, "not_found_error")
    answer = unload(live, "a", lora_int_id=1)
    assert (answer.status_code, answer.text) == (200, "Success: LoRA adapter 'a' removed successfully.")
    assert "a" not in live.models()
    error_of(live.post("/v1/completions", {"model": "a", "prompt": "x"}), 404, "not_found_error")
    assert error_of(unload(live, "a"), 404)["message"] == "The lora adapter 'a' cannot be found."
    assert error_of(unload(live, ""), 400)["message"] == "'lora_name' needs to be provided to unload a LoRA adapter."
    assert load(live, "a", "store/a").status_code == 200  # relative to the directory


def test_ready_when_the_directory_is_loaded(start_tiny, fleet_directory):
    server = start_tiny("--adapters", fleet_directory)
    ready = wait_for(lambda: (answer := server.get("/ready")).status_code == 200 and answer, 30)
    assert ready.json() == {"status": "ready"}
    states = {entry["id"]: entry["residency"] for entry in server.get("/v1/adapters").json()["data"]}
    assert len(states) == 32 and set(states.values()) == {"ready"}
    assert server.stop() == 0


@pytest.mark.parametrize("name", ["../x", "a/b", "a,b", "a@1", "a+b", "%2e%2e", "x" * 300, "é", "a\nb", " ", "base"])
def test_bad_names(live, name):
    error = error_of(load(live, name, "store/a"), 400)
    assert len(error["message"]) < 400
    assert live.alive() and "first" in live.models()


@pytest.mark.parametrize(
    "path", ["/etc", "../..", "store/../../x", "/", "store/a/adapter_config.json", "store/bad", "store", ".", "http://localhost/x"]
)
def test_bad_paths(live, path):
    assert load(live, "x", path).status_code in (400, 404)
    assert "x" not in live.models()


def test_special_files(live, folder):
    """Links out of the directory, devices, pipes: refused, in time."""
    import os

    made = folder / "store" / "odd"
    for kind in ("link", "fifo", "folder", "zero", "empty", "sparse"):
        shutil.rmtree(made, ignore_errors=True)
        shutil.copytree(folder / "store" / "a", made)
        weights = made / "adapter_model.safetensors"
        weights.unlink()
        if kind == "link":
            weights.symlink_to("/etc/passwd")
        elif kind == "fifo":
            os.mkfifo(weights)
        elif kind == "folder":
            weights.mkdir()
        elif kind == "zero":
            weights.symlink_to("/dev/zero")
        else:
            with open(weights, "wb") as file:
                file.truncate(0 if kind == "empty" else 1 << 40)
        start = time.monotonic()
        answer = load(live, "odd", "store/odd")
        assert answer.status_code in (400, 404), (kind, answer.text)
        assert time.monotonic() - start < 5 and "odd" not in live.models()


def test_a_refused_adapter_says_why(live):
    error = error_of(load(live, "bad", "store/bad"), 400)
    assert "rank" in error["message"] or "lora_A" in error["message"] or "r " in error["message"]
    assert live.text(PROMPT, "first") == live.text(PROMPT, "first")


def test_in_place(live, folder, tiny_adapters):
    assert load(live, "a", "store/a").status_code == 200
    before, old = live.text(PROMPT, "a"), adapter_id(live, "a")
    replace(folder / "store" / "a" / "adapter_model.safetensors", variant_bytes(tiny_adapters["all_linear"], 99))
    assert live.text(PROMPT, "a") == before  # nobody has asked for it
    assert load(live, "a", "store/a", load_inplace=True).status_code == 200
    assert live.text(PROMPT, "a") != before and adapter_id(live, "a") != old
    broken = folder / "store" / "a" / "adapter_model.safetensors"
    replace(broken, broken.read_bytes()[:-100])
    version = adapter_id(live, "a")
    assert load(live, "a", "store/a", load_inplace=True).status_code == 400
    assert adapter_id(live, "a") == version  # what was there stays


def test_validate(live, folder):
    good = live.post("/v1/adapters/validate", {"path": "store/b"}).json()
    assert good["valid"] is True and good["rank"] == 8 and not good["error"]
    bad = live.post("/v1/adapters/validate", {"path": "store/bad"})
    assert bad.status_code == 200 and bad.json()["valid"] is False and bad.json()["error"]
    error_of(live.post("/v1/adapters/validate", {"path": "store/nothing"}), 404)
    for path in ("/etc", "../x", ""):
        answer = live.post("/v1/adapters/validate", {"path": path})
        assert answer.status_code in (400, 404) or answer.json()["valid"] is False
    assert set(live.models()) == {"base", "first"}


def test_directory_add_replace_remove(live, folder, tiny_adapters):
    draft = write_variant(tiny_adapters["all_linear"], folder / ".draft", 5)
    draft.rename(folder / "second")
    wait_for(lambda: "second" in live.models(), 5)
    before, old = live.text(PROMPT, "second"), adapter_id(live, "second")
    write_variant(tiny_adapters["all_linear"], folder / "second", 6)
    wait_for(lambda: adapter_id(live, "second") != old, 5)
    assert live.text(PROMPT, "second") != before
    shutil.rmtree(folder / "second")
    wait_for(lambda: "second" not in live.models(), 5)
    error_of(live.post("/v1/completions", {"model": "second", "prompt": "x"}), 404)
    assert "first" in live.models()


def test_directory_with_a_gguf_file(live, folder, tiny_adapters):
    source = tiny_adapters["qv"].with_suffix(".gguf")
    shutil.copy(source, folder / ".draft")
    (folder / ".draft").rename(folder / "from-gguf.gguf")
    wait_for(lambda: "from-gguf" in live.models(), 5)
    assert live.text(PROMPT, "from-gguf") != live.text(PROMPT)


def test_half_written_files(live, folder, tiny_adapters):
    """Written slowly in place: the name is served when it is whole, and never before."""
    target = folder / "slow"
    target.mkdir()
    whole = variant_bytes(tiny_adapters["all_linear"], 7)
    with open(target / "adapter_model.safetensors", "wb") as file:
        for i in range(0, len(whole), len(whole) // 5 + 1):
            file.write(whole[i : i + len(whole) // 5 + 1])
            file.flush()
            assert "slow" not in live.models()
            time.sleep(0.4)
    shutil.copy(tiny_adapters["all_linear"] / "adapter_config.json", target)
    wait_for(lambda: "slow" in live.models(), 6)
    reference = write_variant(tiny_adapters["all_linear"], folder / "store" / "reference", 7)
    load(live, "reference", reference)
    assert live.text(PROMPT, "slow") == live.text(PROMPT, "reference")


def test_a_torn_replacement_keeps_the_old_version(live, folder, tiny_adapters):
    before, old = live.text(PROMPT, "first"), adapter_id(live, "first")
    weights = folder / "first" / "adapter_model.safetensors"
    whole = variant_bytes(tiny_adapters["qv"], 8)
    weights.write_bytes(whole[: len(whole) // 2])
    time.sleep(1.5)
    assert adapter_id(live, "first") == old and live.text(PROMPT, "first") == before
    wait_for(lambda: status(live, "first")["error"], 5)
    weights.write_bytes(whole)
    wait_for(lambda: adapter_id(live, "first") != old, 6)
    assert live.text(PROMPT, "first") != before and not status(live, "first")["error"]


def test_bad_adapters_in_the_directory(live, folder):
    """They are named with the reason, are not served, and harm nobody."""
    shutil.copytree(folder / "store" / "bad", folder / "bad")
    (folder / "not an adapter").mkdir()
    (folder / "notes.txt").write_text("hello")
    (folder / "a,b").mkdir()
    shutil.copy(folder / "store" / "a" / "adapter_config.json", folder / "a,b")
    wait_for(lambda: status(live, "bad") and status(live, "bad")["error"], 5)
    assert set(live.models()) == {"base", "first"} and status(live, "bad")["residency"] == "failed"
    error = live.post("/v1/completions", {"model": "bad", "prompt": "x"})
    assert error.status_code in (400, 404, 500, 503)
    assert str(folder) not in error.text and str(folder) not in status(live, "bad")["error"]


def test_the_directory_is_the_state(start_tiny, folder):
    """It is found again by the next server; what was loaded by a request is not."""
    texts = []
    for _ in range(2):
        server = start_tiny("--adapters", folder)
        wait_for(lambda: "first" in server.models())
        assert set(server.models()) == {"base", "first"}
        load(server, "a", "store/a")
        texts.append(server.text(PROMPT, "first"))
        assert server.stop() == 0
    assert texts[0] == texts[1]


def test_no_directory_no_loads(server, folder):
    error_of(load(server, "x", folder / "store" / "a"), 400)


@pytest.fixture
def crowd(tmp_path, tiny_adapters):
    for i in range(24):
        write_variant(tiny_adapters["all_linear"], tmp_path / f"v{i:02}", i)
    return tmp_path


def test_memory_budget(start_tiny, crowd):
    """More adapters than fit: all are served, the one used longest ago makes room, pinned ones stay."""
    names = [f"v{i:02}" for i in range(24)]
    wide, small = start_tiny("--adapters", crowd), start_tiny("--adapters", crowd, "--adapter-memory", "1")
    for server in (wide, small):
        wait_for(lambda: set(names) <= set(server.models()), 20)
    need = wide.get("/v1/adapters").json()["resident_bytes"]
    assert need > 1 << 20, "the adapters are too small for this test"
    assert small.post("/v1/adapters/pin", {"name": "v03", "pinned": True}).status_code == 200
    for name in names + names[::-1]:
        assert small.text(PROMPT, name) == wide.text(PROMPT, name)
        answer = small.get("/v1/adapters").json()
        assert answer["memory_bytes"] == 1 << 20 >= answer["resident_bytes"]
        entries = {entry["name"]: entry for entry in answer["data"]}
        assert entries["v03"]["residency"] == "ready" and entries["v03"]["pinned"]
        assert entries[name]["residency"] == "ready"
    kinds = [entry["residency"] for entry in small.get("/v1/adapters").json()["data"]]
    assert kinds.count("on_disk") > 3 and kinds.count("ready") > 3
    # The last used are those that are there.
    order = [name for name in names[::-1] if name != "v03"]
    ready = {name for name, entry in entries.items() if entry["residency"] == "ready"} - {"v03"}
    assert ready == set(order[-len(ready) :])
    mix = small.text(PROMPT, "v20@0.5+v21@0.5")
    assert mix == wide.text(PROMPT, "v20@0.5+v21@0.5")
    for server in (wide, small):
        assert server.stop() == 0


def test_unload_gives_memory_back(live, folder):
    def resident():
        return live.get("/v1/adapters").json()["resident_bytes"]

    before = resident()
    for _ in range(3):
        assert load(live, "a", "store/a").status_code == 200
        assert resident() > before
        assert unload(live, "a", wait=True).status_code == 200
        assert resident() == before


def syncer_config(server, folder, wanted, unwanted=()):
    models = [{"id": name, "source": str(folder / "store" / name), "base-model": "base"} for name in wanted]
    return {
        "host": server.host,
        "port": server.port,
        "defaultBaseModel": "base",
        "ensureExist": {"models": models},
        "ensureNotExist": {"models": [{"id": name} for name in unwanted]},
    }


def test_lora_syncer(live, folder):
    """The sidecar's rounds bring the server to what its ConfigMap says, and then leave it alone."""
    syncer = LoraSyncer(syncer_config(live, folder, ("a", "b")))
    assert syncer.reconcile() == [] and set(live.models()) == {"base", "first", "a", "b"}
    assert syncer.reconcile() == []
    syncer.config = syncer_config(live, folder, ("b", "c"), ("a",))
    assert syncer.reconcile() == [] and set(live.models()) == {"base", "first", "b", "c"}
    assert live.text(PROMPT, "b") != live.text(PROMPT, "c")
    syncer.config = syncer_config(live, folder, ("b", "bad", "missing"))
    problems = syncer.reconcile()
    assert len(problems) == 2 and "load_lora_adapter bad: 4" in problems[0] and "load_lora_adapter missing: 404" in problems[1]
    shutil.copytree(folder / "store" / "a", folder / "store" / "missing")
    assert len(syncer.reconcile()) == 1 and "missing" in live.models()  # tried again, as every round
