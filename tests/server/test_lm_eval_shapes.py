"""Requests as lm-evaluation-harness makes them: scored prompts, token ids, and the tokenizer's paths."""

import json
import math

import pytest

from harness import error_of

TEXT = "The lighthouse keeper climbed the stairs and lit the lamp. Far out at sea, a ship turned."


def tokens_of(server, text, **fields):
    answer = server.post("/tokenize", {"prompt": text, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()["tokens"]


def score(server, prompt, **fields):
    """The logprobs objects of an echoed prompt, as TemplateAPI's loglikelihood asks for them."""
    body = {"prompt": prompt, "max_tokens": 0, "temperature": 0, "logprobs": 1, "echo": True, "seed": 1234, **fields}
    return [choice["logprobs"] for choice in server.complete(**body)["choices"]]


def test_tokenize_and_back(real, run_chorus, smollm2):
    tokens = tokens_of(real, TEXT)
    told = run_chorus("tokenize", smollm2, TEXT).stdout.split()
    assert tokens == [int(token) for token in told]
    answer = real.post("/tokenize", {"prompt": TEXT, "return_token_strs": True}).json()
    assert answer["count"] == len(tokens) == len(answer["token_strs"]) and answer["max_model_len"] > 1000
    assert real.post("/tokenize", {"content": TEXT}).json()["tokens"] == tokens  # llama-server's name for it
    back = real.post("/detokenize", {"tokens": tokens}).json()
    assert back["prompt"] == back["content"] == TEXT


def test_tokenize_messages(real):
    messages = [{"role": "user", "content": "Hi"}]
    count = real.post("/tokenize", {"messages": messages}).json()["count"]
    body = {"model": "base", "messages": messages, "max_tokens": 1}
    assert real.post("/v1/chat/completions", body).json()["usage"]["prompt_tokens"] == count


@pytest.mark.parametrize(
    "path, body",
    [
        ("/tokenize", {}),
        ("/tokenize", {"prompt": 5}),
        ("/tokenize", {"prompt": "x", "no_such": 1}),
        ("/detokenize", {"tokens": [-1]}),
        ("/detokenize", {"tokens": [10**7]}),
        ("/detokenize", {"tokens": [2**31]}),
        ("/detokenize", {"tokens": "abc"}),
        ("/detokenize", {}),
    ],
)
def test_tokenizer_refusals(real, path, body):
    error_of(real.post(path, body), 400, "invalid_request_error")


def test_prompts_as_text_and_as_ids_are_one(real):
    texts = [TEXT, "Once upon a time"]
    ids = [tokens_of(real, text) for text in texts]
    forms = [real.complete(prompt=form)["choices"] for form in (texts, ids)]
    assert [choice["text"] for choice in forms[0]] == [choice["text"] for choice in forms[1]]
    alone = [real.text(prompt) for prompt in (texts[0], ids[0])]
    assert alone == [forms[0][0]["text"]] * 2


@pytest.mark.parametrize("model", ["base", "elf"])
def test_loglikelihood_is_evals(real, run_chorus, smollm2, demo_adapters, model, tmp_path):
    """`chorus eval` of the same text and the echoed prompt say the same, but for the last bits of the sum."""
    source = tmp_path / "text.txt"
    source.write_text(TEXT)
    flags = [] if model == "base" else ["--adapter", f"{model}={demo_adapters[model]}", "--use", model]
    told = json.loads(run_chorus("eval", smollm2, source, "--json", *flags).stdout)
    (logprobs,) = score(real, tokens_of(real, TEXT), model=model)
    assert logprobs["token_logprobs"][0] is None and logprobs["top_logprobs"][0] is None
    values = logprobs["token_logprobs"][1:]
    assert len(values) == told["tokens"]
    assert -math.fsum(values) / len(values) == pytest.approx(told["nll"], abs=2e-5)


def test_echo_and_no_new_token(real):
    ids = tokens_of(real, TEXT)
    answer = real.complete(prompt=ids, max_tokens=0, echo=True, logprobs=1)
    (choice,) = answer["choices"]
    assert choice["text"] == TEXT and choice["finish_reason"] == "length"
    assert answer["usage"] == answer["usage"] | {"prompt_tokens": len(ids), "completion_tokens": 0}
    logprobs = choice["logprobs"]
    assert {len(logprobs[name]) for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset")} == {len(ids)}
    assert "".join(logprobs["tokens"]) == TEXT
    assert [TEXT[begin : begin + len(t)] for begin, t in zip(logprobs["text_offset"], logprobs["tokens"])] == logprobs["tokens"]


def test_with_one_token_the_prompt_scores_the_same(real):
    """lm-eval's older form: max_tokens 1, of which the last position is thrown away."""
    ids = tokens_of(real, TEXT)
    (none,), (one,) = score(real, ids), score(real, ids, max_tokens=1)
    assert len(one["tokens"]) == len(ids) + 1
    assert one["token_logprobs"][: len(ids)] == none["token_logprobs"]


def test_greedy_flag_from_top_logprobs(real):
    """lm-eval tells from the top logprob whether the continuation is the greedy one."""
    context = tokens_of(real, "Once upon a")
    continuation = real.complete(prompt=context, logprobs=0, max_tokens=5)["choices"][0]["text"]
    whole = context + tokens_of(real, continuation, add_special_tokens=False)
    (logprobs,) = score(real, whole)
    for logprob, top in list(zip(logprobs["token_logprobs"], logprobs["top_logprobs"]))[len(context) :]:
        assert logprob == max(top.values())
    (other,) = score(real, context + tokens_of(real, " xylophone!!", add_special_tokens=False))
    assert any(
        logprob < max(top.values())
        for logprob, top in list(zip(other["token_logprobs"], other["top_logprobs"]))[len(context) :]
    )


def test_batches_of_scored_prompts(real):
    """Many at once, of different lengths, repeated: each as alone, with and without a cached prefix."""
    ids = tokens_of(real, TEXT)
    prompts = [ids[: 3 + 2 * i] for i in range(8)] * 2
    alone = [score(real, prompt)[0] for prompt in prompts[:8]]
    for logprobs, expected in zip(score(real, prompts), alone * 2):
        assert logprobs == expected


def test_top_logprobs(real):
    (logprobs,) = score(real, tokens_of(real, TEXT), logprobs=5)
    for token, logprob, top in list(zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"]))[1:]:
        assert 5 <= len(top) <= 6 and top[token] == logprob
        assert sum(math.exp(value) for value in top.values()) <= 1.000001


def test_generate_until(real):
    body = {"prompt": ["Q: 1+1\nA:", "Q: 2+2\nA:"], "max_tokens": 32, "stop": ["\n\n", "Q:"], "seed": 1234}
    for choice in real.complete(**body)["choices"]:
        assert "\n\n" not in choice["text"] and "Q:" not in choice["text"]


def test_max_tokens_0_needs_echo_and_logprobs(real):
    for fields in ({}, {"echo": True}, {"logprobs": 1}):
        answer = real.post("/v1/completions", {"model": "base", "prompt": "x", "max_tokens": 0, **fields})
        assert error_of(answer, 400)["param"] == "max_tokens"


def test_scored_prompts_stream(real):
    """echo in a stream: the pieces make up the whole."""
    body = {"prompt": TEXT, "max_tokens": 3, "temperature": 0, "logprobs": 1, "echo": True, "model": "base"}
    whole = real.complete(**body)["choices"][0]
    with real.post("/v1/completions", body | {"stream": True}, stream=True) as answer:
        events = [line[6:] for line in answer.iter_lines() if line.startswith(b"data: ")]
    assert events.pop() == b"[DONE]"
    choices = [json.loads(event)["choices"][0] for event in events]
    assert "".join(choice["text"] for choice in choices) == whole["text"]
    tokens = [token for choice in choices if choice["logprobs"] for token in choice["logprobs"]["tokens"]]
    assert tokens == whole["logprobs"]["tokens"]
