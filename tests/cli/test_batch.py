"""`chorus batch`: what is asked decides the answer, not the company it is answered in."""

import json
import os
import signal
import subprocess
import time

import pytest

from measurements import note
from test_hostile_files import check_refused

PROMPTS = (
    "Who rules this forest?",
    "Describe a harbour at dawn, in two sentences, for someone who has never seen the sea.",
    "Name three colours.",
    "A clockmaker repairs a watch that runs backwards. What happens next? Begin in the middle of it, and let "
    "nobody explain anything.",
    "Why is the sky blue?",
)


def greedy_line(index, model):
    """One request; prompts and lengths differ from line to line."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": f"{PROMPTS[index % len(PROMPTS)]} ({index})"}],
        "temperature": 0,
        "max_tokens": 4 + index * 7 % 20,
    }
    return json.dumps({"custom_id": f"r{index}", "method": "POST", "url": "/v1/chat/completions", "body": body})


def voices(adapters):
    """The base, every adapter, and mixes of neighbours."""
    names = list(adapters)
    mixes = [f"{a}@0.7+{b}@0.3" for a, b in zip(names, names[1:])]
    return ["base", *names, *mixes]


def adapter_flags(adapters):
    return [argument for name, path in adapters.items() for argument in ("--adapter", f"{name}={path}")]


def write_requests(path, count, adapters):
    models = voices(adapters)
    path.write_text("".join(greedy_line(i, models[i % len(models)]) + "\n" for i in range(count)))
    return path


def answers(path):
    """Each custom_id's choices, without what differs from run to run."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(line["error"] is None for line in lines), lines
    return {line["custom_id"]: line["response"]["body"]["choices"] for line in lines}


@pytest.fixture(scope="module")
def requests_file(tmp_path_factory, demo_adapters):
    return write_requests(tmp_path_factory.mktemp("batch") / "in.jsonl", 64, demo_adapters)


def test_same_answers_at_any_thread_count_and_alone(run_chorus, smollm2, demo_adapters, requests_file, tmp_path):
    flags = ["--json", "--kv-memory", "128", *adapter_flags(demo_adapters)]
    outputs = []
    for threads, more in ((1, ["--compare"]), (2, []), (4, []), (4, [])):
        out = tmp_path / f"out{len(outputs)}.jsonl"
        result = run_chorus(
            "batch", smollm2, requests_file, out, "--threads", threads, *flags, *more, timeout=300
        )
        assert result.rc == 0, result.stderr
        summary = json.loads(result.stdout)
        assert (summary["requests"], summary["failed"], summary["complete"]) == (64, 0, True)
        if more:
            assert summary["different"] == [] and summary["one_by_one"]["requests"] == 64
        note(f"batch of 64, {threads} threads: {summary['tokens_per_second']:.0f} tokens/s, {result.seconds:.1f} s")
        outputs.append(answers(out))
    assert len(outputs[0]) == 64
    assert all(output == outputs[0] for output in outputs[1:])


def test_voices_differ(run_chorus, smollm2, demo_adapters, tmp_path):
    """The same prompt under each model name: none is silently the base. A mix may choose what an adapter of it does,
    but not with the same probabilities."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    models = voices(demo_adapters)
    lines = [json.loads(greedy_line(0, model)) | {"custom_id": model} for model in models]
    for line in lines:
        line["body"] |= {"max_tokens": 24, "logprobs": True}
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = run_chorus("batch", smollm2, source, out, *adapter_flags(demo_adapters), timeout=120)
    assert result.rc == 0, result.stderr
    said = [json.dumps(choices) for choices in answers(out).values()]
    assert len(set(said)) == len(models)


BAD_LINES = {
    "not JSON": "{",
    "no object": "[1]",
    "no custom_id": '{"method": "POST", "url": "/v1/completions", "body": {"prompt": "x"}}',
    "no body": '{"custom_id": "a", "method": "POST", "url": "/v1/completions"}',
    "method": '{"custom_id": "a", "method": "GET", "url": "/v1/completions", "body": {"prompt": "x"}}',
    "url": '{"custom_id": "a", "method": "POST", "url": "/etc/passwd", "body": {"prompt": "x"}}',
    "unknown model": '{"custom_id": "a", "method": "POST", "url": "/v1/completions", '
    '"body": {"model": "no-such", "prompt": "x"}}',
    "custom_id twice": '{"custom_id": "good", "method": "POST", "url": "/v1/completions", "body": {"prompt": "x"}}',
    "temperature": '{"custom_id": "a", "method": "POST", "url": "/v1/completions", '
    '"body": {"prompt": "x", "temperature": -1}}',
    "too many tokens": '{"custom_id": "a", "method": "POST", "url": "/v1/completions", '
    '"body": {"prompt": "x", "max_tokens": 1000000000}}',
    "token ids": '{"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"prompt": [-1, 160]}}',
    "deep": "[" * 100000,
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_an_error_line(run_chorus, tiny_gguf, tmp_path, name):
    good = {"method": "POST", "url": "/v1/completions", "body": {"prompt": "x", "max_tokens": 3, "temperature": 0}}
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    ids = ("good", "last")
    first, last = (json.dumps({"custom_id": custom_id, **good}) for custom_id in ids)
    source.write_text(f"{first}\n{BAD_LINES[name]}\n\n{last}\n")
    result = run_chorus("batch", tiny_gguf, source, out)
    assert result.rc == 0, result.stderr
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == 3
    done = {line["custom_id"]: line["response"]["body"]["choices"] for line in lines if line["response"]}
    assert set(done) == set(ids) and done["good"] == done["last"]
    (bad,) = [line for line in lines if line["response"] is None]
    assert bad["error"]["message"]


def test_an_empty_file_and_outputs_that_cannot_be(run_chorus, tiny_gguf, tmp_path):
    source = tmp_path / "in.jsonl"
    source.touch()
    check_refused(run_chorus("batch", tiny_gguf, source, tmp_path / "out"), source)
    source.write_text(greedy_line(0, "base"))
    check_refused(run_chorus("batch", tiny_gguf, source, tmp_path / "no" / "out"))
    check_refused(run_chorus("batch", tiny_gguf, source, tmp_path))


def test_resumes_after_an_interrupt(chorus, run_chorus, smollm2, demo_adapters, requests_file, tmp_path):
    whole, resumed = tmp_path / "whole.jsonl", tmp_path / "resumed.jsonl"
    flags = ["--kv-memory", "128", *adapter_flags(demo_adapters)]
    assert run_chorus("batch", smollm2, requests_file, whole, *flags, timeout=300).rc == 0

    command = [chorus, "batch", smollm2, requests_file, resumed, *flags]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    wait_for_some_results(tmp_path)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "interrupted" in errors
    assert not resumed.exists()

    result = run_chorus(*command[1:], "--json", timeout=300)
    assert result.rc == 0, result.stderr
    summary = json.loads(result.stdout)
    assert 0 < summary["resumed"] < 64 and summary["resumed"] + summary["requests"] == 64
    assert answers(resumed) == answers(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["resumed.jsonl", "whole.jsonl"]


def wait_for_some_results(folder):
    """Until a partial result of the second run holds a line."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        partial = [path for path in folder.iterdir() if path.name.startswith("resumed") or ".resumed" in path.name]
        if any(path.stat().st_size > 2000 for path in partial):
            return
        time.sleep(0.01)
    raise AssertionError(f"no partial results: {os.listdir(folder)}")
