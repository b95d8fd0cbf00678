"""Abuse inside well-formed HTTP: JSON, numbers, token ids, prompts, grammars, and asking for too much. Each is a 400
(or an answer) in bounded time, and the server is as it was."""

import json
import time

import pytest

from harness import error_of
from raw import exchange, json_request
from unharmed import at_rest, check_unharmed

PATH, CHAT = "/v1/completions", "/v1/chat/completions"
VOCAB = 160
GOOD = {"model": "base", "prompt": "Hello", "max_tokens": 2, "temperature": 0}
GOOD_CHAT = {"model": "base", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}


@pytest.fixture(scope="module")
def idle(server):
    for path, body in ((PATH, GOOD), (CHAT, GOOD_CHAT), (PATH, b"x" * (8 << 20))):
        exchange(server, json_request(path, body))
    return at_rest(server)


@pytest.fixture(autouse=True)
def unharmed(server, idle, request):
    yield
    check_unharmed(server, idle, kept=16 << 20 if request.node.originalname == "test_grammars" else 0)


def refused(server, body, path=PATH, status=400, seconds=3):
    """It is refused, in time, by an error object that holds no more than a little of what was sent."""
    answer = exchange(server, json_request(path, body))
    assert answer.seconds < seconds
    error = error_of(answer, status)
    assert len(error["message"]) < 1000
    return error


def with_prompt(raw):
    return b'{"model": "base", "max_tokens": 2, "prompt": ' + raw + b"}"


BAD_JSON = {
    "invalid UTF-8": with_prompt(b'"\xff\xfe"'),
    "overlong": with_prompt(b'"\xc0\xaf"'),
    "Latin-1": with_prompt('"é"'.encode("latin-1")),
    "UTF-8 surrogate": with_prompt(b'"\xed\xa0\x80"'),
    "beyond Unicode": with_prompt(b'"\xf4\x90\x80\x80"'),
    "cut-off UTF-8": with_prompt(b'"\xe2\x82"'),
    "lone surrogate": with_prompt(rb'"\ud800"'),
    "duplicate keys": b'{"model": "base", "prompt": "a", "prompt": "b", "max_tokens": 2}',
    "NaN": b'{"model": "base", "prompt": "a", "temperature": NaN}',
    "Infinity": b'{"model": "base", "prompt": "a", "temperature": Infinity}',
    "1e400": b'{"model": "base", "prompt": "a", "temperature": 1e400}',
    "100k digits": b'{"model": "base", "prompt": "a", "max_tokens": ' + b"9" * 100000 + b"}",
    "fraction with 100k digits": b'{"model": "base", "prompt": "a", "n": 1.' + b"5" * 100000 + b"}",
    "depth 65": with_prompt(b"[" * 65 + b"]" * 65),
    "depth 3,000": with_prompt(b"[" * 3000 + b"]" * 3000),
    "depth 512k": with_prompt(b"[" * 512000),
    "depth 512k of objects": b'{"a":' * 512000,
    "empty": b"",
    "blank": b"   ",
    "an array": b"[]",
    "a string": b'"x"',
    "null": b"null",
    "two documents": b'{"prompt": "a"}{}',
    "trailing comma": b'{"prompt": "a",}',
    "comment": b'{"prompt": "a" /* x */}',
    "cut off": b'{"model": "base", "prompt": "abc',
    "control character": with_prompt(b'"a\x01b"'),
    "UTF-16": '{"prompt": "a"}'.encode("utf-16"),
    "BOM": b'\xef\xbb\xbf{"prompt": "a", "model": "base"}',
    "long key": b'{"' + b"k" * 1000000 + b'": 1}',
    "100k keys": b"{" + b",".join(b'"k%d": 1' % i for i in range(100000)) + b"}",
}


@pytest.mark.parametrize("path", [PATH, CHAT])
@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json(server, name, path):
    refused(server, BAD_JSON[name], path)


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize", "/v1/load_lora_adapter", "/lora-adapters"])
@pytest.mark.parametrize("name", ["invalid UTF-8", "depth 512k", "empty", "cut off", "null"])
def test_bad_json_elsewhere(server, name, path):
    refused(server, BAD_JSON[name], path)


# Name, path, least, greatest, whole numbers only, what else the request needs.
NUMBERS = [
    ("max_tokens", PATH, 1, 500, True, {}),
    ("max_completion_tokens", CHAT, 1, 480, True, {"max_tokens": None}),
    ("min_tokens", PATH, 0, 2, True, {}),
    ("n", PATH, 1, 8, True, {}),
    ("n", CHAT, 1, 8, True, {}),
    ("seed", PATH, -(2**63), 2**63 - 1, True, {}),
    ("top_k", PATH, -1, 2**31 - 1, True, {}),
    ("logprobs", PATH, 0, 20, True, {}),
    ("top_logprobs", CHAT, 0, 20, True, {"logprobs": True}),
    ("temperature", PATH, 0, 100, False, {}),
    ("top_p", PATH, 0, 1, False, {}),
    ("min_p", PATH, 0, 1, False, {}),
    ("repetition_penalty", PATH, 0.1, 10, False, {}),
    ("presence_penalty", PATH, -2, 2, False, {}),
    ("frequency_penalty", CHAT, -2, 2, False, {}),
]
OVER_CONTEXT = 512
WRONG_TYPES = {"string": "1", "list": [1], "object": {"a": 1}, "true": True}


def cases():
    for name, path, least, greatest, whole, needs in NUMBERS:
        step = 1 if whole else 1e-3
        top = OVER_CONTEXT if name in ("max_tokens", "max_completion_tokens") else greatest
        values = {"min": (least, 200), "max": (greatest, 200), "min-1": (least - step, 400), "max+1": (top + step, 400)}
        values |= {kind: (value, 400) for kind, value in WRONG_TYPES.items()} | {"null": (None, 200)}
        if whole:
            values |= {"fraction": (least + 0.5, 400), "2^53+1": (2**53 + 1, 200 if name == "seed" else 400)}
            values |= {"2^64": (2**64, 400), "-2^63-1": (-(2**63) - 1, 400)}
        else:
            values |= {"1e308": (1e308, 400), "-1e308": (-1e308, 400)}
        for kind, (value, status) in values.items():
            yield pytest.param(name, path, value, status, needs, id=f"{path.split('/')[2]}-{name}-{kind}")


@pytest.mark.parametrize("name, path, value, status, needs", cases())
def test_numbers(server, name, path, value, status, needs):
    body = (GOOD if path == PATH else GOOD_CHAT) | needs | {name: value}
    answer = exchange(server, json_request(path, body))
    if status == 200:
        assert answer.status == 200, answer.text
    else:
        error = error_of(answer, 400)
        assert error["param"] in (name, "prompt", "messages", None)
        assert name.removeprefix("max_completion_") in error["message"]


@pytest.mark.parametrize("bias, status", [(-100, 200), (100, 200), (100.001, 400), (-101, 400), ("1", 400), (None, 400)])
def test_logit_bias(server, bias, status):
    assert exchange(server, json_request(PATH, GOOD | {"logit_bias": {"5": bias}})).status == status


@pytest.mark.parametrize("key", ["-1", str(VOCAB), str(2**31), str(2**64), "x", "", "1.5", "05x", " 5"])
def test_logit_bias_of_no_token(server, key):
    assert "logit_bias" in refused(server, GOOD | {"logit_bias": {key: 1}})["message"]


@pytest.mark.parametrize("scale, status", [(-100, 200), (100, 200), (100.1, 400), ("1", 400), (1e39, 400)])
def test_scales(server, scale, status):
    body = GOOD | {"adapters": [{"name": "qv", "scale": scale}]}
    assert exchange(server, json_request(PATH, body)).status == status


@pytest.mark.parametrize("token", [-1, VOCAB, 2**31, 2**32, 2**63, 1.5, "5", None, True, [5]])
def test_token_ids(server, token):
    for prompt in ([5, token], [[5], [5, token]]):
        refused(server, GOOD | {"prompt": prompt})
    refused(server, GOOD | {"stop_token_ids": [token]})


EDGES = {
    "empty prompt": ({"prompt": ""}, (200, 400)),
    "no ids": ({"prompt": []}, (400,)),
    "empty list of ids": ({"prompt": [[]]}, (400,)),
    "65 prompts": ({"prompt": ["x"] * 65}, (400,)),
    "mixed list": ({"prompt": ["x", 5]}, (400,)),
    "no prompt": ({"prompt": None}, (400,)),
    "prompt as long as the context": ({"prompt": "x" * 512}, (400,)),
    "prompt one short": ({"prompt": "x" * 511, "max_tokens": 1}, (200, 400)),
    "stop at token 0": ({"stop_token_ids": list(range(VOCAB)), "logprobs": 5}, (200,)),
    "every token forbidden": ({"logit_bias": {str(i): -100 for i in range(VOCAB)}}, (200,)),
    "n of nothing": ({"n": 8, "max_tokens": 0, "echo": True, "logprobs": 1}, (200, 400)),
}


@pytest.mark.parametrize("name", EDGES)
def test_edges(server, name):
    fields, statuses = EDGES[name]
    assert exchange(server, json_request(PATH, GOOD | fields)).status in statuses


TOO_MUCH = {
    "n": {"n": 10**6},
    "max_tokens": {"max_tokens": 10**9},
    "logprobs": {"logprobs": 10**6},
    "negative logprobs": {"logprobs": -1},
    "stops": {"stop": ["x"] * 10**5},
    "long stop": {"stop": "x" * 257},
    "empty stop": {"stop": ""},
    "stop ids": {"stop_token_ids": [5] * 100000},
    "logit_bias": {"logit_bias": {str(i): 1 for i in range(2000)}},
    "adapters": {"adapters": [{"name": f"a{i}"} for i in range(1000)]},
    "best_of": {"best_of": 10**6},
    "chat template": {"chat_template": "{{ 1 }}"},
    "prompts": {"prompt": ["x"] * 100000},
    "n and prompts": {"prompt": ["x" * 400] * 64, "n": 9},
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_too_much(server, name):
    refused(server, GOOD | TOO_MUCH[name])


@pytest.mark.parametrize("model", ["nobody", "qv@", "qv@x", "qv@1e999", "qv@nan", "+", "qv+qv", "qv@0.5+nobody", "a" * 5000, "../qv", "qv\0", "é" * 300, "base+qv", "qv@-inf"])
def test_no_such_model(server, model):
    error = error_of(exchange(server, json_request(PATH, GOOD | {"model": model})), 404 if len(model) < 1024 else 400)
    assert len(error["message"]) < 700
    assert error["param"] == "model"


PROMPTS = {
    "86k letters": "A" * 86000,
    "1 MB of blank lines": "\n" * 1000000,
    "1 MB of joined emoji": "👩\u200d" * 140000,
    "1 MB of combining marks": "e" + "\u0301" * 500000,
    "1 MB of digits": "7" * 1000000,
    "specials": "<|im_start|>" * 20000,
    "spaces": " " * 1000000,
    "mixed scripts": "aб中ع" * 150000,
}


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_for_the_tokenizer(real, server, name):
    before = at_rest(real)
    error = refused(real, GOOD | {"prompt": PROMPTS[name]}, seconds=10)
    assert error["code"] == "context_length_exceeded"
    assert len(real.post("/tokenize", {"prompt": PROMPTS[name][:2000]}).json()["tokens"]) > 0
    check_unharmed(real, before)


def nested(depth):
    schema = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema, "maxItems": 1}
    return schema


def ebnf(text):
    return {"structured_outputs": {"grammar": text}}


def schema(value):
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": value}}}


HARD = {
    "60,000 (": ebnf("root ::= " + "(" * 60000),
    "nullable star": ebnf('root ::= ("a"*)*'),
    "left recursion": ebnf('root ::= root "a" | "b"'),
    "endless recursion": ebnf("root ::= root"),
    "no root": ebnf('x ::= "a"'),
    "undefined rule": ebnf("root ::= nothing"),
    "5,000 rules": ebnf("root ::= r0\n" + "".join(f"r{i} ::= r{i + 1}\n" for i in range(2500)) + 'r2500 ::= "a"'),
    "huge repeat": ebnf('root ::= "a"{1000000000}'),
    "nested repeats": ebnf('root ::= (((("a"{99}){99}){99}){99})'),
    "regex of repeats": {"guided_regex": "((a{1,100}){1,100}){1,100}"},
    "(a+)+$": {"guided_regex": "(a+)+$"},
    "(((( as a regex": {"guided_regex": "(((("},
    "foo**": {"guided_regex": "foo**"},
    "look-behind": {"guided_regex": "(?<=a)b"},
    "back-reference": {"guided_regex": r"(a)\1"},
    "64 KiB regex": {"guided_regex": "a" * 65537},
    "exponential regex": {"guided_regex": "(a|b)*a(a|b){60}"},
    "empty class": {"guided_regex": "[]"},
    "cyclic $ref": schema({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
    "$ref to the outside": schema({"$ref": "http://localhost/x.json"}),
    "maxLength": schema({"type": "string", "maxLength": 2 * 10**9}),
    "minItems": schema({"type": "array", "minItems": 10**9}),
    "10k enum": schema({"enum": [f"value {i}" for i in range(10000)]}),
    "1k properties": schema({"type": "object", "properties": {f"p{i}": {"type": "integer"} for i in range(1000)}}),
    "65 levels": schema(nested(70)),
    "20 levels": schema(nested(20)),
    "pattern": schema({"type": "string", "pattern": "^(a+)+$"}),
    "choices": {"guided_choice": [f"c{i}" for i in range(20000)]},
    "an empty choice": {"guided_choice": []},
    "two at once": {"guided_choice": ["a"], "guided_regex": "b"},
}


@pytest.mark.parametrize("name", HARD)
def test_grammars(server, name):
    """Compiled in time, or a 400; and never does it hold up the others."""
    start = time.monotonic()
    answer = exchange(server, json_request(PATH, GOOD | {"max_tokens": 20, "temperature": 1} | HARD[name]))
    assert time.monotonic() - start < 6
    if answer.status != 200:
        assert len(error_of(answer, 400)["message"]) < 1000
    server.check_quick()


MUST_FAIL = ("60,000 (", "endless recursion", "no root", "undefined rule", "(((( as a regex", "look-behind", "back-reference",
             "64 KiB regex", "cyclic $ref", "$ref to the outside", "65 levels", "an empty choice", "two at once")  # fmt: skip


@pytest.mark.parametrize("name", MUST_FAIL)
def test_grammars_that_are_none(server, name):
    refused(server, GOOD | HARD[name])


def test_many_grammars_are_not_kept_for_ever(server, idle):
    for i in range(300):
        body = GOOD | {"guided_regex": f"[a-z]{{1,40}}{i}[A-Z]{{1,40}}", "temperature": 1, "max_tokens": 5, "seed": i}
        assert exchange(server, json_request(PATH, body)).status == 200
    assert server.rss() < idle.rss + (80 << 20)


@pytest.mark.parametrize("messages", ("[]", '{"role":"user","content":""}'), ids=("no messages", "empty ones"))
def test_many_voices_over_much_text(start_tiny, messages):
    """The voices have one prompt, however long: it is not held once for each."""
    alone = start_tiny()
    voices = ",".join(f'{{"name":"v{i}","system":"Be brief."}}' for i in range(64))
    body = f'{{"voices":[{voices}],"messages":[{",".join([messages] * ((7 << 20) // (len(messages) + 1)))}]}}'
    refused(alone, body.encode(), path="/v1/chorus", seconds=8)
    assert alone.peak() < 1 << 30
    assert alone.stop() == 0


def test_messages(server):
    bad = [
        [], "Hi", [5], [{"role": "user"}], [{"content": "x"}], [{"role": 5, "content": "x"}],
        [{"role": "user", "content": 5}], [{"role": "user", "content": [{"type": "image_url"}]}],
        [{"role": "user", "content": "x"}] * 5000, [{"role": "user", "content": [{"type": "text", "text": "x"}] * 100000}],
    ]  # fmt: skip
    for messages in bad:
        refused(server, GOOD_CHAT | {"messages": messages}, CHAT)
    deep = json.loads('{"a":' * 40 + "1" + "}" * 40)
    tools = [{"type": "function", "function": {"name": "f", "parameters": deep}}]
    answer = exchange(server, json_request(CHAT, GOOD_CHAT | {"tools": tools}))
    assert answer.status in (200, 400)
