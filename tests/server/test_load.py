"""Many streams at once over many adapters: none is lost, doubled, or answered by another adapter.

Each request is greedy or seeded, so its answer is the one it has alone, bit for bit. CHORUS_LOAD_REQUESTS sets how
many are made (default 1,000).
"""

import asyncio
import os
import random

import pytest

from conftest import FLEET
from harness import wait_for
from measurements import note
from streams import gather, stream
from variants import write_variant

REQUESTS = int(os.environ.get("CHORUS_LOAD_REQUESTS", "1000"))
AT_ONCE = 256
PROMPTS = ("Who rules here?", "abc", "The quick brown fox jumps over the lazy dog and then", "xy" * 45)
MODELS = ["base", *FLEET]
MIX = "voice03@0.5+voice17@0.8"


@pytest.fixture(scope="module")
def fleet(start_tiny, fleet_directory, tiny_adapters):
    server = start_tiny("--adapters", fleet_directory, "--kv-memory", "64", "--max-sequences", "64", "--max-queue", "4096")
    wait_for(lambda: set(MODELS) <= set(server.models()), 30, "not all adapters were loaded")
    return server


def body_of(index):
    """Request `index` of a fixed, mixed sequence: every model meets every prompt, greedy and with seeds."""
    models = [*MODELS, MIX]
    kind = index % (len(models) * len(PROMPTS) * 2)
    model, rest = models[kind % len(models)], kind // len(models)
    prompt, sampled = PROMPTS[rest % len(PROMPTS)], rest // len(PROMPTS)
    body = {"model": model, "prompt": prompt, "max_tokens": 8 + 4 * rest, "ignore_eos": True, "stream": True}
    return body | ({"temperature": 1.0, "seed": kind} if sampled else {"temperature": 0})


def key_of(body):
    return tuple(sorted(body.items()))


@pytest.fixture(scope="module")
def alone(fleet):
    """The answer of each request that occurs, obtained with nothing beside it."""
    kinds = (len(MODELS) + 1) * len(PROMPTS) * 2
    answers = {}
    for i in range(min(REQUESTS, kinds)):
        body = body_of(i)
        fields = {name: value for name, value in body.items() if name != "stream"}
        answers[key_of(body)] = fleet.complete(**fields)["choices"][0]["text"]
    return answers


def test_the_markers_tell_adapters_apart(alone):
    """Else a wrong adapter would not be seen."""
    for prompt in PROMPTS:
        greedy = [t for key, t in alone.items() if dict(key)["prompt"] == prompt and dict(key)["temperature"] == 0]
        assert len(set(greedy)) == len(greedy) > 3


def check(answer, body, alone):
    assert answer.whole(), (body, answer.status, answer.broken, answer.finishes, answer.done, answer.errors, answer.body)
    assert answer.text == alone[key_of(body)], body
    assert {event["model"] for event in answer.events} == {body["model"]}
    assert len({event["id"] for event in answer.events}) == 1
    marker = answer.headers.get("x-adapter-id", "")
    assert body["model"] == "base" and not marker or body["model"].split("@")[0] in marker


def test_streams_at_once(fleet, alone):
    bodies = [body_of(i) for i in range(REQUESTS)]
    asked = (stream(fleet.port, "/v1/completions", body) for body in bodies)
    before = fleet.metrics()
    answers = asyncio.run(gather(asked, AT_ONCE))
    for answer, body in zip(answers, bodies):
        check(answer, body, alone)
    ids = [answer.events[0]["id"] for answer in answers]
    assert len(set(ids)) == REQUESTS
    fleet.wait_idle()
    after = fleet.metrics()
    grown = lambda name: after.sum(name) - before.sum(name)
    assert grown("vllm:generation_tokens_total") == sum(body["max_tokens"] for body in bodies)
    assert grown("vllm:request_success_total") == REQUESTS
    seconds = max(answer.times[-1] for answer in answers) - min(answer.times[0] for answer in answers)
    note(f"server, tiny model: {REQUESTS} requests over {len(MODELS)} models, {AT_ONCE} at once, {seconds:.1f} s")


async def churn(server, fleet_directory, source, stop, done):
    """Loads, reloads and unloads adapters of other names until told to stop; `done` gets what each answered."""

    async def post(path, body):
        return await asyncio.to_thread(server.post, path, body)

    while not stop.is_set():
        name = f"guest{len(done) % 4}"
        folder = await asyncio.to_thread(write_variant, source, fleet_directory / ".guests" / name, 1000 + len(done))
        load = {"lora_name": name, "lora_path": str(folder), "load_inplace": True}
        answer = await post("/v1/load_lora_adapter", load)
        assert answer.status_code == 200, answer.text
        if len(done) % 3 == 2:
            unloaded = await post("/v1/unload_lora_adapter", {"lora_name": name})
            assert unloaded.status_code == 200, unloaded.text
        else:
            assert isinstance(await asyncio.to_thread(server.text, "abc", name, max_tokens=4), str)
        done.append(name)


CHURNS, ROUNDS = 6, 10  # how many loads there is time for is the machine's affair: requests go on until there were so many


async def with_trouble(server, fleet_directory, source):
    """The same load; a quarter of the clients hang up at some point, and adapters come and go. Returns
    [(body, after how many events its client left or None, answer)] and how many adapters came or went."""
    draw, stop, churned = random.Random(4), asyncio.Event(), []
    churning = asyncio.create_task(churn(server, fleet_directory, source, stop, churned))
    asked = []
    for _ in range(ROUNDS):
        bodies = [body_of(i) for i in range(REQUESTS)]
        leaves = [draw.choice((0, 1, 3)) if draw.random() < 0.25 else None for _ in bodies]
        jobs = [stream(server.port, "/v1/completions", body, stop_after=leave) for body, leave in zip(bodies, leaves)]
        asked += zip(bodies, leaves, await gather(jobs, AT_ONCE))
        if len(churned) >= CHURNS or churning.done():
            break
    stop.set()
    await churning
    return asked, len(churned)


def test_with_disconnects_and_adapters_that_come_and_go(fleet, alone, fleet_directory, tiny_adapters):
    asked, churned = asyncio.run(with_trouble(fleet, fleet_directory, tiny_adapters["ranks"]))
    for body, leave, answer in asked:
        if leave is None:
            check(answer, body, alone)
        else:
            assert not answer.broken and alone[key_of(body)].startswith(answer.text)
    assert churned >= CHURNS
    note(f"server, tiny model: {churned} loads and reloads while {len(asked)} requests ran")
    fleet.wait_idle()
    assert fleet.metrics().value("vllm:kv_cache_usage_perc") <= 1
    assert all(entry["users"] == 0 for entry in fleet.get("/v1/adapters").json()["data"])
    fleet.check_quick()
