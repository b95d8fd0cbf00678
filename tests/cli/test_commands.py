"""What every command promises: exit codes, one line of error, one JSON document, and an orderly end."""

import json
import os
import pty
import shutil
import signal
import subprocess
import time

import pytest

from conftest import ADAPTERS
from test_hostile_files import RUN, check_refused

COMMANDS = ("run", "story", "batch", "eval", "inspect", "convert", "tokenize", "bench", "tune")


def arguments_of(command, model, tmp_path):
    """The positional arguments that `command` needs."""
    text = tmp_path / "text.txt"
    text.write_text("some text of a few letters")
    return {
        "run": (model, "-p", "x"),
        "story": (model,),
        "batch": (model, text, tmp_path / "out.jsonl"),
        "eval": (model, text),
        "inspect": (model,),
        "convert": (ADAPTERS / "qv", tmp_path / "out.gguf", "--model", model),
        "tokenize": (model, "x"),
        "bench": (model,),
        "tune": (model, text, "--check"),
    }[command]


def check_good(result):
    assert (result.rc, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(run_chorus, command):
    assert f"Example: chorus {command} " in check_good(run_chorus(command, "--help"))


def test_version(run_chorus):
    assert check_good(run_chorus("--version")).strip().count(".") == 2


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("no-such-command",),
        ("run",),
        ("run", "m", "--no-such-flag"),
        ("run", "m", "-p", "x", "--max-tokens", "0"),
        ("run", "m", "-p", "x", "--max-tokens", "-1"),
        ("run", "m", "-p", "x", "--max-tokens", "99999999999999999999"),
        ("run", "m", "-p", "x", "--temperature", "warm"),
        ("run", "m", "-p", "x", "--temperature", "nan"),
        ("run", "m", "-p", "x", "--top-p", "2"),
        ("run", "m", "-p", "x", "--kv-memory", "0"),
        ("run", "m", "-p", "x", "--threads", "1000000"),
        ("run", "m", "-p", "x", "--seed", "-1"),
        ("tokenize", "m"),
        ("inspect",),
        ("eval", "m"),
        ("batch", "m", "in"),
        ("tune", "m"),
        ("tune", "m", "d", "--val-split", "1"),
        ("tune", "m", "d", "--val-split", "0.1", "--val", "v"),
        ("tune", "m", "d", "--train-on", "user"),
        ("tune", "m", "d", "--max-tokens", "1"),
    ],
)
def test_usage_errors_exit_2(run_chorus, arguments):
    result = run_chorus(*arguments)
    assert result.rc == 2
    assert result.stdout == "" and result.stderr != ""


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("model", ["/no/such/file", "no-such-name"])
def test_missing_model(run_chorus, tmp_path, command, model):
    check_refused(run_chorus(command, *arguments_of(command, model, tmp_path)), model)


def test_missing_files_of_flags(run_chorus, tiny_gguf, tmp_path):
    missing = tmp_path / "missing"
    check_refused(run_chorus("eval", tiny_gguf, missing), missing)
    check_refused(run_chorus("batch", tiny_gguf, missing, tmp_path / "out"), missing)
    check_refused(run_chorus("run", tiny_gguf, "--adapter", f"a={missing}", *RUN), missing)
    check_refused(run_chorus("run", tiny_gguf, "--adapters", missing, *RUN), missing)
    check_refused(run_chorus("inspect", tiny_gguf, "--model", missing))


def test_unknown_adapter_lists_the_known(run_chorus, tiny_gguf, tiny_adapters):
    flag = f"known={tiny_adapters['qv']}"
    check_refused(run_chorus("run", tiny_gguf, "--adapter", flag, "--use", "other", *RUN), says=("other", "known"))


@pytest.mark.parametrize("mix", ["a@", "a@x", "a@nan", "a+a", "+a", "a+", "a@1e9", "a b", "@1"])
def test_bad_mixes(run_chorus, tiny_gguf, tiny_adapters, mix):
    check_refused(run_chorus("run", tiny_gguf, "--adapter", f"a={tiny_adapters['qv']}", "--use", mix, *RUN))


def run_json(run_chorus, model, *arguments):
    return json.loads(check_good(run_chorus("run", model, "-p", "Hello", "--raw", "--json", *arguments)))


def test_same_seed_same_text(run_chorus, tiny_gguf):
    flags = ("--max-tokens", "20", "--temperature", "2")
    first, again, other = (run_json(run_chorus, tiny_gguf, *flags, "--seed", seed) for seed in (7, 7, 8))
    assert first["text"] == again["text"] != other["text"]
    assert first["prompt_tokens"] == 5
    assert first["completion_tokens"] <= 20
    assert first["finish_reason"] == "stop" or first["completion_tokens"] == 20


def test_raw_text_is_that_of_json(run_chorus, tiny_gguf):
    flags = ("--max-tokens", "20", "--temperature", "0")
    streamed = check_good(run_chorus("run", tiny_gguf, "-p", "Hello", "--raw", *flags))
    assert streamed == run_json(run_chorus, tiny_gguf, *flags)["text"] + "\n"


def test_an_adapter_changes_the_text_and_scale_0_does_not(run_chorus, tiny_gguf, tiny_adapters):
    flags = ("--max-tokens", "16", "--temperature", "0", "--adapter", f"a={tiny_adapters['all_linear']}")
    uses = ("base", "a", "a@0")
    base, adapted, none = (run_json(run_chorus, tiny_gguf, *flags, "--use", use)["text"] for use in uses)
    assert base == none != adapted


def test_raw_runs_without_a_template_and_chat_does_not(run_chorus, tiny_gguf):
    check_good(run_chorus("run", tiny_gguf, *RUN))
    check_refused(run_chorus("run", tiny_gguf, "-p", "x"), says=("chat template",))


def test_an_adapter_may_bring_its_own_template(run_chorus, tiny_gguf, tiny_adapters, tmp_path):
    adapter = shutil.copytree(tiny_adapters["qv"], tmp_path / "own")
    use = ("run", tiny_gguf, "-p", "ab", "--max-tokens", "2", "--json", "--adapter", f"own={adapter}", "--use", "own")
    assert "template" in run_chorus(*use).stderr
    for text, longer in (("{{ messages[0].content }}", 0), ("abc{{ messages[0].content }}", 3)):
        (adapter / "chat_template.jinja").write_text(text)
        result = json.loads(run_chorus(*use).stdout)
        assert result["prompt_tokens"] == 2 + longer
    (adapter / "chat_template.jinja").write_text("{% if %}")
    check_refused(run_chorus(*use), adapter, ("line 1",))


def test_prompt_from_stdin(run_chorus, tiny_gguf, tmp_path):
    flags = ("--raw", "--max-tokens", "5", "--temperature", "0")
    file = tmp_path / "prompt"
    file.write_text("Hello")
    piped = run_chorus("run", tiny_gguf, *flags, stdin=file)
    assert check_good(piped) == check_good(run_chorus("run", tiny_gguf, "-p", "Hello", *flags))


def test_prompts_that_cannot_be(run_chorus, tiny_gguf):
    check_refused(run_chorus("run", tiny_gguf, "-p", "", "--raw"), says=("prompt",))
    check_refused(run_chorus("run", tiny_gguf, "-p", "x" * 2000, "--raw"), says=("2000", "512"))


def test_inspect_model(run_chorus, tiny_gguf, tiny_directory):
    for model, form in ((tiny_gguf, "GGUF"), (tiny_directory, "Hugging Face")):
        document = json.loads(check_good(run_chorus("inspect", model, "--json")))
        assert (document["kind"], document["format"], document["layers"]) == ("model", form, 3)
        assert (document["hidden"], document["vocab"], document["context_length"]) == (64, 160, 512)
        assert "architecture" in check_good(run_chorus("inspect", model))


def test_inspect_adapter(run_chorus, tiny_gguf, tiny_adapters):
    document = json.loads(check_good(run_chorus("inspect", tiny_adapters["qv"], "--json")))
    assert document["kind"] == "adapter" and document["targets"] == ["q_proj", "v_proj"]
    fit = json.loads(check_good(run_chorus("inspect", tiny_adapters["qv"], "--model", tiny_gguf, "--json")))
    assert len(fit["id"]) == 64 and fit["bytes_in_memory"] > 0


def test_inspect_refuses_an_adapter_of_another_base(run_chorus, tiny_gguf, tiny_adapters):
    other = tiny_adapters["qv"].parent / "qwen3"
    check_good(run_chorus("inspect", other))
    result = run_chorus("inspect", other, "--model", tiny_gguf)
    check_refused(result, other)


def test_tokenize(run_chorus, tiny_gguf, tiny_directory):
    for model in (tiny_gguf, tiny_directory):
        assert check_good(run_chorus("tokenize", model, "ab c")) == "67 68 2 69\n"
        document = json.loads(check_good(run_chorus("tokenize", model, "a</s>", "--json")))
        assert document == {"ids": [67, 1], "tokens": ["a", "</s>"]}
        assert check_good(run_chorus("tokenize", model, "</s>", "--plain")).split() != ["1"]


def test_eval_text(run_chorus, tiny_gguf, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("some letters")
    document = json.loads(check_good(run_chorus("eval", tiny_gguf, text, "--json")))
    assert document["tokens"] == 11
    assert document["perplexity"] == pytest.approx(2.718281828**document["nll"], rel=1e-6)
    assert f"{document['tokens']} tokens" in check_good(run_chorus("eval", tiny_gguf, text))


def test_eval_chats(run_chorus, smollm2, tmp_path):
    chats = tmp_path / "chats.jsonl"
    turn = {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "It is 4."}]}
    chats.write_text(json.dumps(turn) + "\n" + json.dumps(turn) + "\n")
    document = json.loads(check_good(run_chorus("eval", smollm2, chats, "--json")))
    assert 0 < document["nll"] < 5 and 4 <= document["tokens"] <= 40


BAD_CHATS = ("{", "[]", "{}", '{"messages": []}', '{"messages": 7}', '{"messages": [{"role": "x"}]}')


@pytest.mark.parametrize("line", BAD_CHATS)
def test_eval_bad_chats(run_chorus, smollm2, tmp_path, line):
    chats = tmp_path / "chats.jsonl"
    chats.write_text(line + "\n")
    check_refused(run_chorus("eval", smollm2, chats), chats)


def test_eval_of_nothing(run_chorus, tiny_gguf, tmp_path):
    for content in ("", "x"):
        text = tmp_path / "text.txt"
        text.write_text(content)
        check_refused(run_chorus("eval", tiny_gguf, text))


def test_two_processes_at_once(chorus, run_chorus, tiny_gguf):
    command = [chorus, "run", tiny_gguf, "-p", "Hello", "--raw", "--max-tokens", "300", "--temperature", "0", "--json"]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    texts = [json.loads(process.communicate(timeout=60)[0])["text"] for process in pair]
    assert texts[0] == texts[1] and [process.returncode for process in pair] == [0, 0]


OUTPUT_COMMANDS = {
    "run": ("-p", "x", "--raw", "--max-tokens", "400", "--temperature", "0"),
    "run --json": ("-p", "x", "--raw", "--max-tokens", "4", "--json"),
    "inspect": (),
    "inspect --json": ("--json",),
    "tokenize": ("x y z",),
    "tokenize --json": ("x y z", "--json"),
    "eval": ("TEXT",),
    "eval --json": ("TEXT", "--json"),
}


def output_command(name, model, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("some letters")
    arguments = [text if argument == "TEXT" else argument for argument in OUTPUT_COMMANDS[name]]
    return (name.split()[0], model, *arguments)


@pytest.mark.parametrize("name", OUTPUT_COMMANDS)
def test_full_disk(run_chorus, tiny_gguf, tmp_path, name):
    result = run_chorus(*output_command(name, tiny_gguf, tmp_path), stdout="/dev/full")
    check_refused(result, says=("standard output",))


@pytest.mark.parametrize("name", OUTPUT_COMMANDS)
def test_closed_output(chorus, tiny_gguf, tmp_path, name):
    """As `| head` leaves it: nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [chorus, *output_command(name, tiny_gguf, tmp_path)]
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    assert result.returncode == 1, result
    assert result.stderr.count("\n") == 1 and "standard output" in result.stderr


def test_interrupt_ends_run_at_once(chorus, smollm2):
    command = [chorus, "run", str(smollm2), "-p", "Count.", "--max-tokens", "5000", "--kv-memory", "256", "--seed", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.read(1)  # it has begun
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert time.monotonic() - start < 5  # a step takes some 10 ms; a loaded machine, more
    assert b"\n" not in errors.strip()


def test_chat_on_a_terminal(chorus, smollm2):
    """Two turns typed at a terminal, then end of input."""
    parent, child = pty.openpty()
    command = [chorus, "run", str(smollm2), "--max-tokens", "8", "--temperature", "0", "--kv-memory", "64"]
    process = subprocess.Popen(command, stdin=child, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.close(child)
    os.write(parent, b"Hello\nAnd again\n\x04")
    out, _ = process.communicate(timeout=60)
    os.close(parent)
    assert process.returncode == 0
    assert len(out.strip()) > 0
