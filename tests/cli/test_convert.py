"""`chorus convert`: what it computes is judged in src/model; here it is the command, and that nothing is left of a refusal."""

import json

import pytest

import builders

from test_commands import check_good
from test_hostile_files import RUN, check_refused


@pytest.mark.parametrize("name", ["qv", "all_linear", "rank1", "ranks"])
def test_there_and_back(run_chorus, tiny_gguf, tiny_adapters, tmp_path, name):
    gguf, peft = tmp_path / "a.gguf", tmp_path / "b"
    text = check_good(run_chorus("convert", tiny_adapters[name], gguf, "--model", tiny_gguf))
    assert text.startswith(f"{gguf}: on 72 tokens its logits are at most 0 from the original's")
    back = check_good(run_chorus("convert", gguf, f"{peft}/", "--model", tiny_gguf, "--json"))
    document = json.loads(back)
    assert (document["from"], document["to"], document["path"]) == ("GGUF", "PEFT", str(peft))
    assert document["largest_difference"] == 0 and document["adapter_effect"] > 1
    ids = set()
    for adapter in (tiny_adapters[name], peft):
        fit = json.loads(check_good(run_chorus("inspect", adapter, "--model", tiny_gguf, "--json")))
        ids.add(fit["id"])
    assert len(ids) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gguf", "b"]
    answers = {
        check_good(run_chorus("run", tiny_gguf, "--adapter", f"a={path}", "--use", "a", *RUN))
        for path in (tiny_adapters[name], gguf, peft)
    }
    assert len(answers) == 1


def test_the_format_may_be_said(run_chorus, tiny_gguf, tiny_adapters, tmp_path):
    out = tmp_path / "adapter"
    check_good(run_chorus("convert", tiny_adapters["qv"], out, "--to", "gguf", "--model", tiny_gguf))
    assert out.read_bytes()[:4] == b"GGUF"
    again = tmp_path / "b.gguf"
    check_good(run_chorus("convert", out, again, "--to", "peft", "--model", tiny_gguf))
    assert (again / "adapter_config.json").is_file()


def test_refusals_leave_nothing(run_chorus, tiny_gguf, tiny_adapters, tmp_path):
    other = tiny_adapters["qv"].parent / "qwen3"
    check_refused(run_chorus("convert", other, tmp_path / "a.gguf", "--model", tiny_gguf), other)
    check_refused(run_chorus("convert", tmp_path / "none", tmp_path / "a.gguf", "--model", tiny_gguf))
    head = tiny_adapters["qv"].parent / "tied_head"
    check_refused(run_chorus("convert", head, tmp_path / "a.gguf", "--model", tiny_gguf), head, ("lm_head",))
    assert list(tmp_path.iterdir()) == []
    mine = tmp_path / "mine"
    mine.write_text("mine")
    result = run_chorus("convert", tiny_adapters["qv"], mine, "--model", tiny_gguf)
    check_refused(result, mine, ("there already",))
    assert mine.read_text() == "mine" and list(tmp_path.iterdir()) == [mine]
    assert run_chorus("convert", tiny_adapters["qv"], tmp_path / "x").rc == 2


def test_hints_are_told_of(run_chorus, tiny_gguf, tiny_adapters, tmp_path):
    file = builders.read_gguf((tiny_adapters["qv"].parent / "qv.gguf").read_bytes())
    file.keys["adapter.lora.prompt_prefix"] = (builders.STRING, "Once")
    (tmp_path / "hinted.gguf").write_bytes(file.pack())
    result = run_chorus("convert", tmp_path / "hinted.gguf", tmp_path / "a", "--model", tiny_gguf)
    assert (result.rc, result.stderr) == (0, "chorus: adapter.lora.prompt_prefix is left behind\n")


def test_a_chat_template_is_told_of(run_chorus, tiny_gguf, tiny_adapters, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    for path in tiny_adapters["qv"].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    result = run_chorus("convert", folder, tmp_path / "a.gguf", "--model", tiny_gguf)
    assert result.rc == 0 and "chat template" in result.stderr
