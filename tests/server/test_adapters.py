"""Adapters in requests: by name, by mix, and by the other servers' fields; model cards; what `chorus batch` says."""

import json
import re

import pytest

from harness import error_of

NAMES = ("qv", "all_linear", "rank1", "ranks")
PROMPT = "Who rules this forest?"


def test_cards(server):
    cards = server.models()
    assert list(cards)[0] == "base" and set(cards) == {"base", *NAMES}
    for name, card in cards.items():
        assert card["object"] == "model" and isinstance(card["created"], int) and card["root"]
        assert card["parent"] == (None if name == "base" else "base")
        assert isinstance(card["permission"], list) and isinstance(card["owned_by"], str)
    assert cards["base"]["max_model_len"] == 512 and cards["qv"]["max_model_len"] is None
    assert server.get("/v1/models/qv").json() == cards["qv"]
    error_of(server.get("/v1/models/nobody"), 404, "not_found_error")


def test_served_name(start_tiny):
    server = start_tiny("--served-name", "my/model-7b")
    assert list(server.models()) == ["my/model-7b"]
    assert server.complete(model="my/model-7b")["model"] == "my/model-7b"
    assert server.stop() == 0


def test_every_voice_is_its_own_and_as_in_batch(server, run_chorus, tiny_chat, tiny_adapters, tmp_path):
    models = ["base", *NAMES, "qv@0.7+ranks@0.3", "all_linear@-0.5"]
    body = {"prompt": PROMPT, "max_tokens": 24, "temperature": 0, "ignore_eos": True}
    texts = {model: server.text(model=model, **body) for model in models}
    assert len(set(texts.values())) == len(models)
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = ({"custom_id": m, "method": "POST", "url": "/v1/completions", "body": body | {"model": m}} for m in models)
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    flags = [part for name, path in tiny_adapters.items() for part in ("--adapter", f"{name}={path}")]
    assert run_chorus("batch", tiny_chat, source, out, "--no-cache", *flags).rc == 0
    told = {line["custom_id"]: line["response"]["body"] for line in map(json.loads, out.read_text().splitlines())}
    assert {name: answer["choices"][0]["text"] for name, answer in told.items()} == texts


def test_x_adapter_id(server):
    def header(**fields):
        return server.post("/v1/completions", {"prompt": "x", "max_tokens": 1, **fields}).headers.get("x-adapter-id")

    assert not header(model="base")
    ids = {}
    for name in NAMES:
        found = re.fullmatch(rf"{name} sha256:([0-9a-f]{{64}})", header(model=name))
        assert found, header(model=name)
        ids[name] = found[1]
    assert len(set(ids.values())) == len(NAMES)
    mixed = header(model="qv@0.7+ranks@0.3")
    assert ids["qv"] in mixed and ids["ranks"] in mixed
    with server.post("/v1/completions", {"model": "qv", "prompt": "x", "max_tokens": 2, "stream": True}, stream=True) as answer:
        assert ids["qv"] in answer.headers["x-adapter-id"]


def same_as(server, model, **fields):
    """Whether these fields beside the base give what the model's name gives."""
    common = {"prompt": PROMPT, "max_tokens": 20, "ignore_eos": True}
    return server.text(model="base", **common, **fields) == server.text(model=model, **common)


def test_mixes_in_every_dialect(server):
    """Ours, llama-server's and LoRAX's: one meaning."""
    ids = {entry["name"]: entry["id"] for entry in server.get("/lora-adapters").json()}
    mix = "qv@0.7+ranks@0.3"
    assert same_as(server, mix, adapters=[{"name": "qv", "scale": 0.7}, {"name": "ranks", "scale": 0.3}])
    assert same_as(server, mix, lora=[{"id": ids["qv"], "scale": 0.7}, {"id": ids["ranks"], "scale": 0.3}])
    assert same_as(server, mix, adapter_parameters={"ids": ["qv", "ranks"], "weights": [0.7, 0.3], "merge_strategy": "linear"})
    assert same_as(server, "qv", adapter_id="qv")
    assert same_as(server, "qv", adapters=[{"name": "qv"}])
    assert same_as(server, "base", adapters=[])
    assert same_as(server, "base", lora=[{"id": ids["qv"], "scale": 0}])
    assert not same_as(server, "qv", adapters=[{"name": "qv", "scale": 0.5}])


def test_dialects_in_chat(server):
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 12, "temperature": 0, "model": "base"}
    text = lambda **fields: server.post("/v1/chat/completions", body | fields).json()["choices"][0]["message"]["content"]
    assert text(adapter_id="qv") == text(model="qv") == text(adapters=[{"name": "qv"}]) != text()


BAD = {
    "unknown": ({"adapters": [{"name": "nobody"}]}, 404),
    "unknown adapter_id": ({"adapter_id": "nobody"}, 404),
    "twice": ({"adapters": [{"name": "qv"}, {"name": "qv"}]}, 400),
    "beside an adapter": ({"model": "qv", "adapters": [{"name": "ranks"}]}, 400),
    "two dialects": ({"adapters": [{"name": "qv"}], "adapter_id": "ranks"}, 400),
    "no list": ({"lora": {"id": 0, "scale": 1}}, 400),
    "no objects": ({"lora": [0]}, 400),
    "negative id": ({"lora": [{"id": -1, "scale": 1}]}, 400),
    "no name": ({"adapters": [{"scale": 1}]}, 400),
    "unknown member": ({"adapters": [{"name": "qv", "weight": 1}]}, 400),
    "other merge": ({"adapter_parameters": {"ids": ["qv"], "weights": [1], "merge_strategy": "ties"}}, 400),
    "weights": ({"adapter_parameters": {"ids": ["qv"], "weights": [1, 2]}}, 400),
    "a source": ({"adapter_id": "qv", "adapter_source": "hub"}, 400),
    "too many": ({"adapters": [{"name": f"a{i}"} for i in range(9)]}, 400),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_choices(server, name):
    fields, status = BAD[name]
    error_of(server.post("/v1/completions", {"model": "base", "prompt": "x", **fields}), status)


def test_llama_servers_scales(start_tiny, tiny_adapters):
    """POST /lora-adapters sets what requests get that choose nothing."""
    flags = [part for name in ("qv", "ranks") for part in ("--adapter", f"{name}={tiny_adapters[name]}")]
    server = start_tiny(*flags)
    listed = server.get("/lora-adapters").json()
    assert all(set(entry) >= {"id", "path", "scale"} for entry in listed)
    ids = {entry["name"]: entry["id"] for entry in listed}
    assert sorted(ids.values()) == [0, 1]
    base, both = server.text(PROMPT), server.text(PROMPT, "qv@0.5+ranks@0.25")
    assert server.post("/lora-adapters", [{"id": ids["qv"], "scale": 0.5}, {"id": ids["ranks"], "scale": 0.25}]).json() == {"success": True}
    assert [entry["scale"] for entry in sorted(server.get("/lora-adapters").json(), key=lambda e: e["name"])] == [0.5, 0.25]
    assert server.text(PROMPT) == both != base
    own = server.text(PROMPT, "qv")  # what is asked for goes before the default
    assert server.text(PROMPT, adapters=[{"name": "qv"}]) == own not in (base, both)
    assert server.text(PROMPT, lora=[{"id": ids["qv"], "scale": 1}]) == own
    server.post("/lora-adapters", [{"id": ids["qv"], "scale": 1}])  # not named: scale 0
    assert server.text(PROMPT) == own
    server.post("/lora-adapters", [])
    assert server.text(PROMPT) == base
    assert error_of(server.post("/lora-adapters", {"id": 0}), 400)["message"] == "Request body must be an array"
    for bad in ([{"id": 99, "scale": 1}], [{"id": 0}], [{"scale": 1}], [{"id": 0, "scale": "1"}], [5]):
        assert server.post("/lora-adapters", bad).status_code in (400, 404), bad
    assert server.text(PROMPT) == base
    assert server.stop() == 0


def test_a_template_of_its_own(start_tiny, tiny_adapters, tmp_path):
    """A chat template inside an adapter's directory is used for it, and for nobody else."""
    from variants import write_variant

    folder = write_variant(tiny_adapters["qv"], tmp_path / "own", 1)
    (folder / "chat_template.jinja").write_text("OWN:{% for m in messages %}{{ m.content }}{% endfor %}")
    write_variant(tiny_adapters["qv"], tmp_path / "plain", 1)
    server = start_tiny("--adapter", f"own={folder}", "--adapter", f"plain={tmp_path / 'plain'}")
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, "temperature": 0}
    chat = lambda model: server.post("/v1/chat/completions", body | {"model": model}).json()
    expected = server.complete("OWN:Hello", "own", max_tokens=8)
    assert chat("own")["usage"]["prompt_tokens"] == expected["usage"]["prompt_tokens"]
    assert chat("own")["choices"][0]["message"]["content"] == expected["choices"][0]["text"]
    assert chat("plain")["choices"][0]["message"]["content"] == server.text("[user]Hello[assistant]", "plain", max_tokens=8)
    assert server.stop() == 0
