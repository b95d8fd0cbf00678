"""The real `openai` client against the server: what its users do every day, on real text."""

import asyncio
import math
import time

import openai
import pytest

CHAT = [{"role": "user", "content": "Name three colours."}]


@pytest.fixture(scope="module")
def client(real):
    with openai.OpenAI(base_url=real.url + "/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield client


def chat(client, **fields):
    return client.chat.completions.create(**{"model": "base", "messages": CHAT, "max_tokens": 24, **fields})


def complete(client, **fields):
    return client.completions.create(**{"model": "base", "prompt": "Once upon", "max_tokens": 12, **fields})


def test_chat(client):
    answer = chat(client, temperature=0)
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-") and answer.model == "base"
    assert abs(answer.created - time.time()) < 300
    (choice,) = answer.choices
    assert choice.index == 0 and choice.finish_reason in ("stop", "length")
    assert choice.message.role == "assistant" and choice.message.content.strip()
    usage = answer.usage
    assert usage.prompt_tokens > 5 and 0 < usage.completion_tokens <= 24
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert chat(client, temperature=0).choices[0].message.content == choice.message.content


def test_length_and_stop_reasons(client):
    assert chat(client, max_tokens=3).choices[0].finish_reason == "length"
    assert chat(client, max_tokens=3, temperature=0).usage.completion_tokens == 3
    assert chat(client, max_completion_tokens=2, max_tokens=openai.omit).usage.completion_tokens == 2
    short = [{"role": "user", "content": "Say only: yes"}]
    assert chat(client, messages=short, max_tokens=200, temperature=0).choices[0].finish_reason == "stop"


def test_messages_in_every_form(client):
    parts = [{"type": "text", "text": "Name three colours."}]
    plain = chat(client, temperature=0).choices[0].message.content
    assert chat(client, messages=[{"role": "user", "content": parts}], temperature=0).choices[0].message.content == plain
    long = [
        {"role": "system", "content": "You are terse."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Name a bird."},
    ]
    system = chat(client, messages=long, temperature=0).choices[0].message.content
    long[0]["role"] = "developer"
    assert chat(client, messages=long, temperature=0).choices[0].message.content == system


@pytest.mark.parametrize("usage", [False, True])
def test_chat_stream(client, usage):
    whole = chat(client, temperature=0)
    options = {"stream_options": {"include_usage": True}} if usage else {}
    chunks = list(chat(client, temperature=0, stream=True, **options))
    assert len({(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks}) == 1
    assert chunks[0].object == "chat.completion.chunk" and chunks[0].choices[0].delta.role == "assistant"
    body = [chunk for chunk in chunks if chunk.choices]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in body)
    assert text == whole.choices[0].message.content
    reasons = [chunk.choices[0].finish_reason for chunk in body]
    assert reasons[-1] == whole.choices[0].finish_reason and set(reasons[:-1]) == {None}
    assert len(body) > 5
    if usage:
        assert not chunks[-1].choices and chunks[-1].usage.total_tokens == whole.usage.total_tokens
        assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(chunk.usage is None for chunk in body)
    assert len(chunks) == len(body) + usage


def test_completion_and_its_stream(client):
    whole = complete(client, temperature=0)
    assert whole.object == "text_completion" and whole.id.startswith("cmpl-")
    chunks = list(complete(client, temperature=0, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == whole.choices[0].text
    assert chunks[-1].usage == whole.usage or chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1] if chunk.choices[0].finish_reason] == ["length"]


def test_list_of_prompts(client):
    prompts = ["Once upon", "The sea is", "Once upon"]
    answer = complete(client, prompt=prompts, temperature=0)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    alone = [complete(client, prompt=prompt, temperature=0).choices[0].text for prompt in prompts]
    assert [choice.text for choice in answer.choices] == alone
    streamed = [""] * 3
    for chunk in complete(client, prompt=prompts, temperature=0, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.text
    assert streamed == alone


def test_n(client):
    answer = chat(client, n=4, seed=5, temperature=1.2)
    texts = [choice.message.content for choice in answer.choices]
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3] and len(set(texts)) > 1
    assert answer.usage.completion_tokens > 4
    again = chat(client, n=4, seed=5, temperature=1.2)
    assert [choice.message.content for choice in again.choices] == texts
    streamed, ends = [""] * 4, [0] * 4
    for chunk in chat(client, n=4, seed=5, temperature=1.2, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
            ends[choice.index] += choice.finish_reason is not None
    assert streamed == texts and ends == [1] * 4


def test_seed(client):
    draw = lambda seed: complete(client, seed=seed, temperature=1.5).choices[0].text
    assert draw(7) == draw(7)
    assert len({draw(seed) for seed in range(5)}) > 1
    free = {complete(client, temperature=1.5).choices[0].text for _ in range(5)}
    assert len(free) > 1  # without a seed each draws its own


def test_temperature_top_p_and_others(client):
    greedy = complete(client, temperature=0).choices[0].text
    assert complete(client, temperature=1.5, top_p=1e-6, seed=1).choices[0].text == greedy
    assert complete(client, temperature=1.5, seed=1, extra_body={"top_k": 1}).choices[0].text == greedy
    assert complete(client, temperature=1.5, seed=1, extra_body={"min_p": 1.0}).choices[0].text == greedy


def test_stop(client):
    plain = complete(client, temperature=0, max_tokens=40).choices[0]
    stop = plain.text[10:14]
    for form in (stop, [stop, "never this"]):
        choice = complete(client, temperature=0, max_tokens=40, stop=form).choices[0]
        assert choice.text == plain.text[: plain.text.index(stop)] and choice.finish_reason == "stop"
    streamed = complete(client, temperature=0, max_tokens=40, stop=stop, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == plain.text[: plain.text.index(stop)]


def test_chat_logprobs(client):
    answer = chat(client, temperature=0, logprobs=True, top_logprobs=3, max_tokens=8)
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens
    for token in content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 3
        assert token.logprob == max(top.logprob for top in token.top_logprobs)
        assert math.fsum(math.exp(top.logprob) for top in token.top_logprobs) <= 1.000001
        assert bytes(token.bytes).decode("utf-8", "replace") == token.token
    text = b"".join(bytes(token.bytes) for token in content).decode("utf-8", "replace")
    assert text.startswith(answer.choices[0].message.content)
    plain = chat(client, temperature=0, logprobs=True, max_tokens=4).choices[0].logprobs.content
    assert all(token.top_logprobs == [] for token in plain)
    streamed = []
    for chunk in chat(client, temperature=0, logprobs=True, top_logprobs=3, max_tokens=8, stream=True):
        if chunk.choices and chunk.choices[0].logprobs:
            streamed += chunk.choices[0].logprobs.content
    assert streamed == content


def test_completion_logprobs(client):
    logprobs = complete(client, temperature=0, logprobs=2).choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.top_logprobs) == 12
    for token, logprob, top in zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs):
        assert top[token] == logprob == max(top.values())


def test_logit_bias_and_penalties(client, real):
    (comma,) = real.post("/tokenize", {"prompt": ",", "add_special_tokens": False}).json()["tokens"]
    forced = complete(client, temperature=0, logit_bias={str(comma): 100}).choices[0].text
    assert forced == "," * 12
    plain = complete(client, temperature=0, max_tokens=40).choices[0].text
    for field in ("presence_penalty", "frequency_penalty"):
        assert complete(client, temperature=0, max_tokens=40, **{field: 2}).choices[0].text != plain
    fewer = complete(client, temperature=0, logit_bias={str(comma): 5}, frequency_penalty=2).choices[0].text
    assert fewer.count(",") < 12


def test_adapters_are_models(client, demo_adapters):
    cards = {card.id: card for card in client.models.list()}
    assert {"base", *demo_adapters} <= set(cards) and list(cards)[0] == "base"
    assert client.models.retrieve("elf").id == "elf"
    texts = {name: chat(client, model=name, temperature=0).choices[0].message.content for name in ("base", *demo_adapters)}
    assert len(set(texts.values())) == len(texts)
    assert chat(client, model="elf@0.5+villain@0.5", temperature=0).model == "elf@0.5+villain@0.5"


def test_async_many_at_once(real):
    """Sixteen at once, adapters mixed, streamed and whole: each as it is alone."""

    async def ask(client, index, stream):
        model = ("base", "elf", "villain", "summary")[index % 4]
        messages = [{"role": "user", "content": f"Tell me about the number {index}."}]
        fields = {"model": model, "messages": messages, "max_tokens": 16, "temperature": 0}
        if not stream:
            return (await client.chat.completions.create(**fields)).choices[0].message.content
        text = ""
        async for chunk in await client.chat.completions.create(**fields, stream=True):
            text += chunk.choices[0].delta.content or ""
        return text

    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=real.url + "/v1", api_key="none", max_retries=0) as client:
            alone = [await ask(client, i, False) for i in range(8)]
            both = [ask(client, i, stream) for i in range(8) for stream in (False, True)]
            return alone, await asyncio.gather(*both)

    alone, together = asyncio.run(all_of_them())
    assert together == [text for text in alone for _ in range(2)]


ERRORS = {
    "unknown model": (openai.NotFoundError, {"model": "no-such-model"}),
    "temperature": (openai.BadRequestError, {"temperature": -1}),
    "n": (openai.BadRequestError, {"n": 1000000}),
    "roles": (openai.BadRequestError, {"messages": [{"role": "wizard", "content": "x"}]}),
    "no messages": (openai.BadRequestError, {"messages": []}),
    "too long": (openai.BadRequestError, {"messages": [{"role": "user", "content": "word " * 20000}]}),
    "unknown field": (openai.BadRequestError, {"extra_body": {"no_such_field": 1}}),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_the_clients_exceptions(client, name, stream):
    kind, fields = ERRORS[name]
    with pytest.raises(kind) as raised:
        chat(client, stream=stream, **fields)
    error = raised.value
    assert error.status_code == (404 if kind is openai.NotFoundError else 400)
    assert error.body["message"] and error.type in ("not_found_error", "invalid_request_error")
    if name == "too long":
        assert error.code == "context_length_exceeded"
    if name == "unknown model":
        assert "The model `no-such-model` does not exist." in error.body["message"]


def test_keys_and_overload(start_server, smollm2, tmp_path):
    """One key, one request at a time: the rest are told so by the statuses that the client knows. On the real model: a
    request to the tiny one may be over before the second comes."""
    keys = tmp_path / "keys"
    keys.write_text("# the test's\nsecret-1\n")
    flags = ("--kv-memory", "64", "--api-key-file", keys, "--key-concurrency", "1")
    server = start_server(smollm2, *flags, key="secret-1")
    fields = {"model": "base", "messages": CHAT}
    wrong = openai.OpenAI(base_url=server.url + "/v1", api_key="secret-2", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        wrong.chat.completions.create(**fields)
    right = openai.OpenAI(base_url=server.url + "/v1", api_key="secret-1", max_retries=0)
    long = {"max_tokens": 1500, "stream": True, "extra_body": {"ignore_eos": True}}
    with right.chat.completions.create(**fields, **long) as stream:
        next(iter(stream))
        with pytest.raises(openai.RateLimitError) as raised:
            right.chat.completions.create(**fields)
        assert float(raised.value.response.headers["retry-after"]) > 0
    server.wait_idle()
    assert right.chat.completions.create(**fields, max_tokens=2).choices
    assert server.stop() == 0


def test_timeout_and_closing_a_stream_cancel(client, real):
    long = {"max_tokens": 1500, "extra_body": {"ignore_eos": True}}
    with pytest.raises(openai.APITimeoutError):
        chat(client.with_options(timeout=0.3), **long)
    real.wait_idle(2)
    stream = chat(client, stream=True, **long)
    for _, _ in zip(range(4), stream):
        pass
    assert real.running() == 1
    stream.close()
    real.wait_idle(2)
