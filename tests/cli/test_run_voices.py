"""`chorus run` with several --use: the answers of one batch, side by side, in turn or as JSON."""

import json

import pytest

from process import terminal_output

FLAGS = ("-p", "Hello", "--raw", "--temperature", 0, "--max-tokens", 30)


@pytest.fixture(scope="module")
def voices(tiny_adapters):
    return [part for name in ("qv", "ranks") for part in ("--adapter", f"{name}={tiny_adapters[name]}")]


def test_each_as_alone(run_chorus, tiny_gguf, voices):
    mixes = ["qv", "ranks@0.5+qv@0.5", ""]
    uses = [part for mix in mixes for part in ("--use", mix)]
    document = run_chorus("run", tiny_gguf, *voices, *FLAGS, *uses, "--json")
    assert document.rc == 0, document.stderr
    answers = json.loads(document.stdout)["voices"]
    assert [answer["name"] for answer in answers] == ["qv", "ranks@0.5+qv@0.5", "base"]
    for mix, answer in zip(mixes, answers):
        alone = json.loads(run_chorus("run", tiny_gguf, *voices, *FLAGS, "--use", mix, "--json").stdout)
        assert (answer["text"], answer["completion_tokens"]) == (alone["text"], alone["completion_tokens"])
    longest, all = (f(answer["completion_tokens"] for answer in answers) for f in (max, sum))
    assert f"3 voices, {all} tokens in {longest} steps" in document.stderr and longest < all
    in_turn = run_chorus("run", tiny_gguf, *voices, *FLAGS, *uses).stdout
    expected = "\n".join(f"== {answer['name']} ==\n{answer['text']}\n" for answer in answers)
    assert in_turn == expected


def test_side_by_side_on_a_wide_terminal(chorus, tiny_gguf, voices):
    command = [chorus, "run", tiny_gguf, *voices, *FLAGS, "--use", "qv", "--use", "ranks"]
    wide = terminal_output(command, columns=120).splitlines()
    row = next(line for line in wide if line.startswith("qv"))
    assert row.index("│") == 59 and row.endswith("ranks") and "==" not in "".join(wide)
    narrow = terminal_output(command, columns=80)
    assert "== qv ==" in narrow and "│" not in narrow


def test_refused(run_chorus, tiny_gguf, voices):
    result = run_chorus("run", tiny_gguf, *voices, *FLAGS, "--use", "qv", "--use", "nobody")
    assert result.rc == 1 and "nobody" in result.stderr.splitlines()[-1] and result.stdout == ""
