"""`chorus tune --check`: what the data doctor says of data, and how the program ends."""

import json
import shutil

import pytest

from test_hostile_files import check_refused, check_small
from hostile_models import MIB
from process import terminal_output

TEMPLATE = (
    "{% for m in messages %}<s>{{ m.role }} {{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant {% endif %}"
)


@pytest.fixture(scope="session")
def chat_model(tiny_directory, tmp_path_factory):
    """The tiny model with a chat template."""
    folder = shutil.copytree(tiny_directory, tmp_path_factory.mktemp("chat") / "model")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def chat(question, answer):
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture()
def data(tmp_path):
    return write_lines(tmp_path / "data.jsonl", [chat(f"question {i}", f"a good answer {i}") for i in range(40)])


def checked(run_chorus, *arguments, rc=0):
    """The document of --json."""
    result = run_chorus("tune", *arguments, "--check", "--json")
    assert (result.rc, result.stderr) == (rc, "")
    return json.loads(result.stdout)


def verdicts(document):
    return {check["name"]: check["verdict"] for check in document["checks"]}


def test_good_data(run_chorus, chat_model, data):
    document = checked(run_chorus, chat_model, data, "--val-split", "0.2")
    assert document["verdict"] == "fine" and set(verdicts(document).values()) == {"fine"}
    assert document["files"] == [{"path": str(data), "format": "chat", "examples": 40}]
    assert (document["training"]["sequences"], document["validation"]["sequences"]) == (32, 8)
    text = run_chorus("tune", chat_model, data, "--check")
    assert text.rc == 0 and "⟦a good answer 0</s>⟧" in text.stdout and "\x1b" not in text.stdout


def test_a_forecast(run_chorus, chat_model, data):
    """Of what a pass takes here and now; it grows with the epochs. Nothing is written."""
    once, often = (checked(run_chorus, chat_model, data, "--epochs", epochs)["forecast"] for epochs in (1, 50))
    assert once["epochs"] == 1 and often["epochs"] == 50 and 0 < once["seconds"] < often["seconds"]
    assert 1e6 < once["memory_bytes"] < 1e9 and once["tokens_per_second"] > 0


def test_what_is_learned(run_chorus, chat_model, tmp_path):
    turns = chat("one", "yes")["messages"] + chat("two", "also")["messages"]
    data = write_lines(tmp_path / "data.jsonl", [{"messages": turns}])
    learned = {
        how: checked(run_chorus, chat_model, data, "--train-on", how)["training"]["learned"]
        for how in ("assistant", "last", "all")
    }
    tokens = checked(run_chorus, chat_model, data)["training"]["tokens"]
    assert learned == {"assistant": len("yes") + 1 + len("also") + 1, "last": len("also") + 1, "all": tokens - 1}


def test_problems_are_named_by_line(run_chorus, chat_model, data):
    lines = data.read_text().splitlines()
    data.write_text("\n".join([*lines[:6], '{"messages": [', *lines[6:]]))
    document = checked(run_chorus, chat_model, data)
    records = document["checks"][0]
    assert records["verdict"] == document["verdict"] == "look at this"
    assert records["places"][0].startswith(f"{data}:7: not JSON: ")


def test_what_stops_a_run_exits_1(run_chorus, chat_model, data):
    data.write_text(data.read_text() + "{}\n" * 10)
    document = checked(run_chorus, chat_model, data, rc=1)
    assert document["verdict"] == verdicts(document)["records"] == "stops the run"
    result = run_chorus("tune", chat_model, data, "--check")
    assert result.rc == 1 and "verdict     stops the run" in result.stdout


def test_leaks_from_a_validation_file(run_chorus, chat_model, data, tmp_path):
    held = write_lines(tmp_path / "held.jsonl", [chat(f"new {i}", "x y z") for i in range(5)] + [chat("Question 3", "no")])
    document = checked(run_chorus, chat_model, data, "--val", held)
    leaks = document["checks"][-1]
    assert (leaks["name"], leaks["verdict"]) == ("leaks", "look at this")
    assert leaks["places"] == [f"{held}:6 asks the same as {data}:4"]


def test_truncated(run_chorus, chat_model, data):
    assert verdicts(checked(run_chorus, chat_model, data, "--max-tokens", "32"))["truncated"] == "look at this"


def test_a_model_without_a_template_learns_texts_only(run_chorus, tiny_gguf, data, tmp_path):
    document = checked(run_chorus, tiny_gguf, data, rc=1)
    assert "no chat template" in document["checks"][0]["places"][0]
    text = tmp_path / "book.txt"
    text.write_text("".join(f"It was night {i}. " for i in range(80)))
    document = checked(run_chorus, tiny_gguf, text, "--max-tokens", "100", "--val-split", "0.2")
    assert document["files"][0]["format"] == "text" and document["validation"]["sequences"] == 3


def test_a_folder_and_several_files(run_chorus, chat_model, data, tmp_path):
    (tmp_path / "more.csv").write_text("user,assistant\nhow are you,well\n")
    document = checked(run_chorus, chat_model, tmp_path)
    assert [file["format"] for file in document["files"]] == ["chat", "csv"]
    each = checked(run_chorus, chat_model, tmp_path / "more.csv", data)
    assert [one["training"]["sequences"] + one["validation"]["sequences"] for one in each] == [1, 40]


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("data.jsonl", b"", "no record"),
        ("data.jsonl", b'{"question": "a"}\n', '"question"'),
        ("data.jsonl", b"\x00\x01", "JSON records"),
        ("data.parquet", b"PAR1", "Parquet"),
        ("data.csv", b"a,b\n", "columns"),
        ("data.txt", b"\xff\xfea\x00", "UTF-16"),
        ("data.jsonl", b"{" * (32 * MIB), "bytes"),
        ("data.json", b"[" * (32 * MIB), "does not end"),
        ("data.csv", b'text\n"' + b"x" * (32 * MIB), "does not end"),
    ],
    ids=("empty", "unknown keys", "binary", "parquet", "columns", "UTF-16", "braces", "brackets", "an open quote"),
)
def test_hostile_data(run_chorus, chat_model, tmp_path, name, content, says):
    file = tmp_path / name
    file.write_bytes(content)
    result = run_chorus("tune", chat_model, file, "--check")
    check_refused(result, file, (says,))
    check_small(result, 128 * MIB)


def test_colour_on_a_terminal_only(chorus, chat_model, data):
    command = [chorus, "tune", str(chat_model), str(data), "--check"]
    assert "\x1b[32ma good answer 0</s>\x1b[0m" in terminal_output(command, {"NO_COLOR": ""})
    assert "\x1b" not in terminal_output(command, {"NO_COLOR": "1"})


def test_learns_the_tokens_that_eval_scores(run_chorus, smollm2, demo_adapters):
    data = demo_adapters["story"] / "heldout.jsonl"
    scored = json.loads(run_chorus("eval", smollm2, data, "--json", timeout=300).stdout)["tokens"]
    assert checked(run_chorus, smollm2, data, "--train-on", "last", "--val-split", "0")["training"]["learned"] == scored
