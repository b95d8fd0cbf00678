"""Structured answers through the real `openai` client: what comes back is valid, whatever the model would say."""

import enum
import json
import re
from typing import Literal

import jsonschema
import openai
import pydantic
import pytest

ASK = [{"role": "user", "content": "Invent a person."}]
SCHEMAS = {
    "object": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "kind": {"enum": ["elf", "human", None]},
        },
        "required": ["name", "age", "kind"],
        "additionalProperties": False,
    },
    "array": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4},
    "nested": {
        "type": "object",
        "properties": {"list": {"type": "array", "maxItems": 2, "items": {"$ref": "#/$defs/pair"}}},
        "required": ["list"],
        "additionalProperties": False,
        "$defs": {
            "pair": {
                "type": "object",
                "properties": {"a": {"type": "boolean"}, "b": {"const": "ü\n"}},
                "required": ["a", "b"],
                "additionalProperties": False,
            }
        },
    },
    "any of": {"anyOf": [{"type": "null"}, {"type": "string", "pattern": "^[a-c]{2,5}$"}]},
    "format": {"type": "string", "format": "date"},
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 12}, "unit": {"enum": ["C", "F"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
TIME = {
    "type": "function",
    "function": {
        "name": "get_time",
        "parameters": {
            "type": "object",
            "properties": {"zone": {"enum": ["UTC", "CET"]}},
            "required": ["zone"],
            "additionalProperties": False,
        },
    },
}
TOOLS = {tool["function"]["name"]: tool for tool in (WEATHER, TIME)}


@pytest.fixture(scope="module")
def client(real):
    with openai.OpenAI(base_url=real.url + "/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield client


def chat(client, **fields):
    defaults = {"model": "base", "messages": ASK, "max_tokens": 200, "temperature": 1, "seed": 3}
    return client.chat.completions.create(**{**defaults, **fields})


def schema_format(schema):
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("model", ["base", "elf"])
def test_json_schema(client, name, model):
    answer = chat(client, model=model, n=2, response_format=schema_format(SCHEMAS[name]))
    for choice in answer.choices:
        assert choice.finish_reason == "stop", choice
        jsonschema.validate(json.loads(choice.message.content), SCHEMAS[name])


def test_json_schema_streams_the_same(client):
    fields = {"response_format": schema_format(SCHEMAS["object"])}
    whole = chat(client, **fields).choices[0].message.content
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chat(client, stream=True, **fields))
    assert text == whole


def test_json_object(client):
    answer = chat(client, response_format={"type": "json_object"}, max_tokens=400, temperature=0)
    choice = answer.choices[0]
    assert choice.message.content.startswith("{")
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(choice.message.content), dict)


def test_text_is_no_constraint(client):
    plain = chat(client, temperature=0, max_tokens=10).choices[0].message.content
    assert chat(client, temperature=0, max_tokens=10, response_format={"type": "text"}).choices[0].message.content == plain


def test_parse_with_pydantic(client):
    class Colour(enum.Enum):
        RED = "red"
        BLUE = "blue"

    class Item(pydantic.BaseModel):
        colour: Colour
        size: Literal["S", "M", "L"]

    class Order(pydantic.BaseModel):
        items: list[Item] = pydantic.Field(max_length=3)
        paid: bool
        note: str | None = pydantic.Field(max_length=20)

    answer = client.chat.completions.parse(model="base", messages=ASK, max_tokens=300, response_format=Order, seed=1)
    assert isinstance(answer.choices[0].message.parsed, Order)


@pytest.mark.parametrize(
    "fields, valid",
    [
        ({"structured_outputs": {"choice": ["yes", "no", "perhaps"]}}, re.compile("yes|no|perhaps")),
        ({"guided_choice": ["Zürich", "Oslo"]}, re.compile("Zürich|Oslo")),
        ({"structured_outputs": {"regex": "[A-Z]{3}-[0-9]{4}"}}, re.compile("[A-Z]{3}-[0-9]{4}")),
        ({"guided_regex": "(ab|cd){2,3}x?"}, re.compile("(ab|cd){2,3}x?")),
        ({"structured_outputs": {"grammar": 'root ::= "a" b{1,3}\nb ::= [0-9] "."'}}, re.compile(r"a([0-9]\.){1,3}")),
        ({"guided_grammar": 'root ::= ("x" | "y")+ "!"'}, None),
        ({"guided_json": SCHEMAS["array"]}, re.compile(r"\[.*\]", re.DOTALL)),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_vllm_names(client, fields, valid):
    for seed in range(3):
        choice = chat(client, extra_body=fields, seed=seed, max_tokens=60).choices[0]
        if valid:
            assert choice.finish_reason == "stop" and valid.fullmatch(choice.message.content), choice
        else:
            assert re.fullmatch("[xy]+!?", choice.message.content)
    text = client.completions.create(model="base", prompt="Say:", extra_body=fields, max_tokens=60, seed=1).choices[0].text
    assert valid is None or valid.fullmatch(text)


BAD_FORMATS = {
    "unsupported keyword": schema_format({"type": "array", "uniqueItems": True}),
    "bad type": schema_format({"type": "strnig"}),
    "no schema at all": {"type": "json_schema", "json_schema": {"name": "x", "schema": 7}},
    "unknown type": {"type": "yaml"},
    "bad pattern": schema_format({"type": "string", "pattern": "(("}),
    "cycle": schema_format({"$ref": "#"}),
    "impossible": schema_format({"type": "integer", "minimum": 3, "maximum": 2}),
}


@pytest.mark.parametrize("name", BAD_FORMATS)
def test_what_cannot_be_guaranteed_is_refused(client, name):
    with pytest.raises(openai.BadRequestError) as raised:
        chat(client, response_format=BAD_FORMATS[name])
    message = raised.value.body["message"]
    named = {"unsupported keyword": "uniqueItems", "bad type": "type", "bad pattern": "pattern", "cycle": "$ref"}
    assert named.get(name, "") in message


def check_call(call, tool=None):
    function = call.function
    assert call.type == "function" and call.id
    assert tool is None or function.name == tool
    jsonschema.validate(json.loads(function.arguments), TOOLS[function.name]["function"]["parameters"])


TOOL_ASK = [{"role": "user", "content": "What is the weather in Oslo?"}]


@pytest.mark.parametrize(
    "choice, tool",
    [("required", None), ({"type": "function", "function": {"name": "get_time"}}, "get_time")],
    ids=["required", "named"],
)
def test_forced_tools(client, choice, tool):
    for seed in range(3):
        answer = chat(client, messages=TOOL_ASK, tools=[WEATHER, TIME], tool_choice=choice, seed=seed)
        (picked,) = answer.choices
        assert picked.message.tool_calls, picked
        # OpenAI says "stop" where the call was named.
        assert picked.finish_reason == "tool_calls" or (tool and picked.finish_reason == "stop")
        for call in picked.message.tool_calls:
            check_call(call, tool)


def test_forced_tools_stream(client):
    fields = {"messages": TOOL_ASK, "tools": [WEATHER, TIME], "tool_choice": "required"}
    whole = chat(client, **fields).choices[0].message.tool_calls
    calls, reasons = {}, []
    for chunk in chat(client, stream=True, **fields):
        delta = chunk.choices[0].delta
        assert not delta.content
        reasons += [chunk.choices[0].finish_reason] if chunk.choices[0].finish_reason else []
        for piece in delta.tool_calls or []:
            call = calls.setdefault(piece.index, {"id": piece.id, "name": piece.function.name, "arguments": ""})
            assert call["id"] and call["name"], "the first piece of a call names it"
            call["arguments"] += piece.function.arguments or ""
    assert reasons == ["tool_calls"] and sorted(calls) == list(range(len(calls)))
    assert [(call["name"], call["arguments"]) for call in calls.values()] == [
        (call.function.name, call.function.arguments) for call in whole
    ]


def test_auto_and_no_tools(client):
    for seed in range(3):
        choice = chat(client, messages=TOOL_ASK, tools=[WEATHER], tool_choice="auto", seed=seed, max_tokens=60).choices[0]
        assert choice.message.content or choice.message.tool_calls
        assert (choice.finish_reason == "tool_calls") == bool(choice.message.tool_calls)
        none = chat(client, messages=TOOL_ASK, tools=[WEATHER], tool_choice="none", seed=seed, max_tokens=30).choices[0]
        assert none.message.content and not none.message.tool_calls


def test_a_tools_answer_goes_back(client):
    asked = chat(client, messages=TOOL_ASK, tools=[WEATHER], tool_choice="required").choices[0].message
    messages = [*TOOL_ASK, asked.model_dump(exclude_none=True)]
    messages += [{"role": "tool", "tool_call_id": call.id, "content": '{"t": -3}'} for call in asked.tool_calls]
    assert chat(client, messages=messages, tools=[WEATHER], tool_choice="none", max_tokens=20).choices[0].message.content


BAD_TOOLS = {
    "no such name": {"tools": [TIME], "tool_choice": {"type": "function", "function": {"name": "other"}}},
    "no tools": {"tool_choice": "required"},
    "no name": {"tools": [{"type": "function", "function": {}}], "tool_choice": "required"},
    "bad choice": {"tools": [TIME], "tool_choice": "always"},
    "bad schema": {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "strnig"}}}],
        "tool_choice": "required",
    },
}


@pytest.mark.parametrize("name", BAD_TOOLS)
def test_bad_tools(client, name):
    with pytest.raises(openai.BadRequestError):
        chat(client, messages=TOOL_ASK, **BAD_TOOLS[name])
