"""POST /v1/chorus: many voices, one prompt, one batch, one stream."""

import asyncio
import json

import pytest

from harness import error_of, wait_for
from streams import stream

PATH = "/v1/chorus"
QUESTION = [{"role": "user", "content": "Where is the owl?"}]
VOICES = [
    {"name": "plain", "model": "base"},
    {"name": "low", "model": "qv"},
    {"name": "mixed", "model": "all_linear@0.7+ranks@0.3", "temperature": 0.8, "seed": 5},
    {"name": "told", "model": "rank1", "system": "Answer as an owl.", "max_tokens": 9},
]
BODY = {"messages": QUESTION, "voices": VOICES, "temperature": 0, "max_tokens": 24, "ignore_eos": True}


def sing(server, body):
    answer = asyncio.run(stream(server.port, PATH, body | {"stream": True}))
    assert answer.status == 200 and not answer.broken and answer.done == 1, answer
    return answer.events


def texts_of(events):
    texts = {}
    for event in events:
        if "delta" in event:
            texts[event["voice"]] = texts.get(event["voice"], "") + event["delta"]
    return texts


def alone(server, voice):
    """What /v1/chat/completions says to the same voice."""
    system = [{"role": "system", "content": voice["system"]}] if "system" in voice else []
    own = {name: value for name, value in voice.items() if name not in ("name", "system")}
    body = {name: value for name, value in BODY.items() if name not in ("voices", "messages")} | own
    answer = server.post("/v1/chat/completions", body | {"messages": system + QUESTION})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_each_voice_says_what_it_says_alone(server):
    events = sing(server, BODY)
    texts = texts_of(events)
    ends = {event["voice"]: event for event in events if event.get("done")}
    assert list(ends) and set(ends) == {voice["name"] for voice in VOICES}
    whole = server.post(PATH, BODY).json()
    assert [voice["name"] for voice in whole["voices"]] == [voice["name"] for voice in VOICES]
    for voice, said in zip(VOICES, whole["voices"]):
        expected, end = alone(server, voice), ends[voice["name"]]
        text = expected["choices"][0]["message"]["content"]
        assert texts[voice["name"]] == text == said["text"]
        assert end["finish_reason"] == said["finish_reason"] == "length"
        counts = ("prompt_tokens", "completion_tokens")
        assert [end["usage"][name] for name in counts] == [expected["usage"][name] for name in counts]
        assert (end["adapter"] is None) == (voice["model"] == "base") and end["first_token_ms"] > 0
    assert ends["mixed"]["seed"] == 5 and ends["mixed"]["adapter"].count("sha256:") == 2
    assert len({text for text in texts.values()}) == len(VOICES)


def test_all_in_the_same_steps(server):
    """By the engine's own count: as many steps as one voice has tokens, not as all have, and a row for each in each."""
    voices = [{"name": f"voice {i}", "model": ("base", "qv", "ranks")[i % 3]} for i in range(12)]
    before = server.get("/v1/chorus").status_code, server.metrics().sum("chorus:engine_steps_total")
    events = sing(server, BODY | {"voices": voices, "max_tokens": 40})
    steps = server.metrics().sum("chorus:engine_steps_total") - before[1]
    final = [event["batch"] for event in events if event.get("batch", {}).get("final")]
    assert before[0] == 405 and len(final) == 1 and 40 <= final[0]["steps"] <= 44 and steps <= 46
    assert final[0]["tokens"] == 12 * 40 and final[0]["rows"] > 10 and final[0]["seconds"] > 0
    order = [event.get("voice") for event in events]
    assert set(order[:60]) >= {voice["name"] for voice in voices}  # side by side, not one after the other


def test_a_prompt_and_a_format(server):
    schema = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"], "additionalProperties": False}
    held = {"name": "held", "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}}
    answer = server.post(PATH, {"prompt": "Hello", "voices": [held, {"name": "free"}], "max_tokens": 60, "seed": 3}).json()
    assert json.loads(answer["voices"][0]["text"]) in ({"a": "x"}, {"a": "y"})
    assert answer["voices"][0]["finish_reason"] == "stop" and {voice["seed"] for voice in answer["voices"]} == {3}
    assert answer["voices"][1]["text"]


def test_messages_of_its_own(server):
    """A voice is asked its own question; one without any needs the one that all have."""
    own = [{"role": "user", "content": "What is the tide?"}]
    said = lambda body: [voice["text"] for voice in server.post(PATH, BODY | body).json()["voices"]]  # noqa: E731
    both = said({"voices": [{"name": "a"}, {"name": "b", "messages": own}]})
    assert both == [*said({"voices": [{"name": "a"}]}), *said({"messages": own, "voices": [{"name": "b"}]})]
    assert both[0] != both[1]
    only = {"max_tokens": 4, "voices": [{"name": "b", "messages": own}]}
    assert server.post(PATH, only).status_code == 200
    only["voices"].append({"name": "c"})
    assert error_of(server.post(PATH, only), 400)["param"] == "voices[1].messages"


def test_counted_by_voice(server):
    before = server.metrics()
    sing(server, BODY)
    after = server.metrics()
    for name in ("qv", "rank1", "all_linear@0.7+ranks@0.3"):
        counts = [m.sum("chorus:adapter_requests_total", adapter=name) for m in (before, after)]
        assert counts[1] == counts[0] + 1, name
    server.wait_idle()


def test_a_client_that_leaves(server):
    body = BODY | {"max_tokens": 400, "voices": [{"name": f"v{i}"} for i in range(8)], "stream": True}
    asyncio.run(stream(server.port, PATH, body, stop_after=4))
    server.wait_idle()
    cancelled = server.metrics().sum("chorus:adapter_requests_total")
    assert cancelled > 0
    sing(server, BODY)


def test_one_voice_is_stopped(server):
    """The others say what they would have said; the stopped one keeps what it had said by then."""
    body = BODY | {"max_tokens": 300, "voices": [{"name": "a"}, {"name": "b", "model": "qv"}]}
    whole = {voice["name"]: voice["text"] for voice in server.post(PATH, body).json()["voices"]}
    events, answers = [], []
    with server.post(PATH, body | {"stream": True}, stream=True) as answer:
        for line in answer.iter_lines():
            if not line.startswith(b"data: {"):
                continue
            events.append(json.loads(line[6:]))
            if not answers and events[-1].get("voice") == "b":
                answers.append(server.post(f"{PATH}/stop", {"id": events[0]["id"], "voice": "b"}).json())
    ends, texts = {event["voice"]: event for event in events if event.get("done")}, texts_of(events)
    assert answers == [{"id": events[0]["id"], "voice": "b", "stopped": True}]
    assert texts["a"] == whole["a"] and ends["a"]["finish_reason"] == "length"
    assert whole["b"].startswith(texts["b"]) and 0 < len(texts["b"]) < len(whole["b"])
    assert ends["b"]["finish_reason"] == "stopped" and 0 < ends["b"]["usage"]["completion_tokens"] < 300
    assert "error" not in ends["b"]
    assert error_of(server.post(f"{PATH}/stop", {"id": events[0]["id"], "voice": "b"}), 404)["param"] == "id"
    server.wait_idle()


def test_stopping_what_is_not_there(server):
    body = BODY | {"max_tokens": 400, "voices": [{"name": "short", "max_tokens": 1}, {"name": "long"}], "stream": True}
    with server.post(PATH, body, stream=True) as answer:
        lines = (json.loads(line[6:]) for line in answer.iter_lines() if line.startswith(b"data: {"))
        id = next(lines)["id"]
        next(event for event in lines if event.get("done"))
        stop = lambda **fields: server.post(f"{PATH}/stop", {"id": id, "voice": "long"} | fields)  # noqa: E731
        assert stop(voice="short").json()["stopped"] is False
        assert error_of(stop(voice="none"), 404)["param"] == "voice"
        assert error_of(stop(id="chorus-0"), 404)["param"] == "id"
        assert error_of(server.post(f"{PATH}/stop", {"id": id}), 400)["param"] == "voice"
        assert stop().json()["stopped"] is True
    server.wait_idle()


REFUSED = [
    ({"voices": []}, "voices"),
    ({"voices": [{"name": "a"}] * 65}, "voices"),
    ({"voices": "all"}, "voices"),
    ({"voices": ["a"]}, "voices[0]"),
    ({"voices": [{"model": "base"}]}, "voices[0].name"),
    ({"voices": [{"name": ""}]}, "voices[0].name"),
    ({"voices": [{"name": "x" * 65}]}, "voices[0].name"),
    ({"voices": [{"name": "a"}, {"name": "a"}]}, "voices[1].name"),
    ({"voices": [{"name": "a"}, {"name": "b", "temperature": "hot"}]}, "voices[1].temperature"),
    ({"voices": [{"name": "a", "max_tokens": 10**6}]}, "voices[0].messages"),
    ({"voices": [{"name": "a", "frobnicate": 1}]}, "voices[0].frobnicate"),
    ({"voices": [{"name": "a", "prompt": "x"}]}, "prompt"),
    ({"voices": [{"name": "a", "messages": "x"}]}, "voices[0].messages"),
    ({"voices": [{"name": "a", "stream": True}]}, "voices[0].stream"),
    ({"voices": [{"name": "a", "n": 2}]}, "voices[0].n"),
    ({"voices": [{"name": "a", "system": 7}]}, "voices[0].system"),
    ({"voices": [{"name": "a", "model": "a@0.5"}]}, "voices[0].model"),
    ({"voices": [{"name": "a"}], "n": 2}, "n"),
    ({"voices": [{"name": "a"}], "tools": []}, "tools"),
    ({"voices": [{"name": "a"}], "stream": "yes"}, "stream"),
    ({"voices": [{"name": "a"}], "prompt": "x"}, "prompt"),
    ({"voices": [{"name": "a", "response_format": {"type": "json_schema"}}]}, "voices[0].response_format"),
]


@pytest.mark.parametrize("change, param", REFUSED)
def test_refused(server, change, param):
    """One voice that cannot be is the end of the request, before anything runs."""
    answer = server.post(PATH, {"messages": QUESTION, "max_tokens": 4} | change)
    error = error_of(answer, 404 if param == "voices[0].model" else 400)
    assert error["param"] == param, error
    wait_for(lambda: server.running() == 0, 5)


def test_what_names_no_prompt(server):
    assert error_of(server.post(PATH, {"voices": [{"name": "a"}]}), 400)["param"] == "messages"
    many = {"prompt": ["a", "b"], "voices": [{"name": "a"}]}
    assert error_of(server.post(PATH, many), 400)["param"] == "voices[0].prompt"


def test_more_voices_than_there_is_room_for(start_tiny):
    """All or none: what does not fit in the queue is refused whole."""
    server = start_tiny("--max-sequences", "2", "--max-queue", "3")
    voices = [{"name": f"v{i}"} for i in range(8)]
    answer = server.post(PATH, BODY | {"voices": voices})
    assert answer.status_code == 503 and answer.headers["Retry-After"]
    assert server.running() == 0 and server.post(PATH, BODY | {"voices": voices[:5]}).status_code == 200


def test_keys(start_tiny, tmp_path):
    (tmp_path / "keys").write_text("sesame\nfig\n")
    server = start_tiny("--api-key-file", tmp_path / "keys")
    assert server.post(PATH, BODY | {"voices": [{"name": "a"}]}).status_code == 401
    with_key = {"Authorization": "Bearer sesame"}
    assert server.post(PATH, BODY | {"voices": [{"name": "a"}]}, headers=with_key).status_code == 200
    body = BODY | {"voices": [{"name": "a"}], "max_tokens": 300, "stream": True}
    with server.post(PATH, body, headers=with_key, stream=True) as answer:
        id = json.loads(next(line for line in answer.iter_lines() if line)[6:])["id"]
        other = server.post(f"{PATH}/stop", {"id": id, "voice": "a"}, headers={"Authorization": "Bearer fig"})
        assert error_of(other, 404)["param"] == "id"
