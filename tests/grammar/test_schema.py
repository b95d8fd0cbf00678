"""JSON Schema as a grammar, against PyPI's `jsonschema`: every text that a schema's grammar makes is valid."""

import json
import os
import random
import subprocess

import jsonschema
import pytest

from random_schemas import Chance, random_schema
from schema_cases import ACCEPTED, D7, REFUSED

PROGRAM = os.environ["SCHEMA_TEXTS"]
MADE = 24  # texts of each schema
RANDOM_SCHEMAS = int(os.environ.get("RANDOM_SCHEMAS", "1500"))


@pytest.fixture(scope="module")
def ask():
    with subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8") as program:

        def answer(schema, texts=(), count=0, seed=1):
            question = {"schema": schema, "texts": list(texts), "count": count, "seed": seed}
            program.stdin.write(json.dumps(question) + "\n")
            program.stdin.flush()
            return json.loads(program.stdout.readline())

        yield answer
        program.stdin.close()


def validator(schema):
    is_object = isinstance(schema, dict)
    draft, formats = jsonschema.Draft202012Validator, jsonschema.draft202012_format_checker
    if is_object and schema.get("$schema") == D7:
        draft, formats = jsonschema.Draft7Validator, jsonschema.draft7_format_checker
    # Beside lengths a format is an annotation.
    return draft(schema, format_checker=None if is_object and "maxLength" in schema else formats)


def writings(value):
    yield json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    yield json.dumps(value, ensure_ascii=False)
    yield json.dumps(value, ensure_ascii=False, indent=2)


def name(case):
    return json.dumps(case[0])[:70]


def test_there_are_enough():
    assert len(ACCEPTED) >= 200 and len({json.dumps(schema) for schema, _ in ACCEPTED}) == len(ACCEPTED)


@pytest.mark.parametrize("schema, values", ACCEPTED, ids=map(name, ACCEPTED))
def test_all_texts_are_valid(ask, schema, values):
    judge = validator(schema)
    texts = [text for value in values for text in writings(value)]
    answer = ask(schema, texts, MADE, seed=len(json.dumps(schema)))
    assert "error" not in answer, answer["error"]
    for value in values:
        judge.validate(value)
    assert [text for text, accepted in zip(texts, answer["accepted"]) if not accepted] == []
    for text in answer["made"]:
        judge.validate(json.loads(text))


@pytest.mark.parametrize("schema, keyword", REFUSED, ids=map(name, REFUSED))
def test_refused_by_name(ask, schema, keyword):
    message = ask(schema).get("error", "accepted")
    assert message.startswith("json_schema: ") and keyword in message and "\n" not in message


def test_the_place_is_named(ask):
    schema = {"properties": {"a/b": {"items": {"type": "array", "uniqueItems": True}}}}
    assert ask(schema)["error"].startswith("json_schema: #/properties/a~1b/items: uniqueItems: ")


def test_integer_ranges_are_exact(ask):
    chance = random.Random(1)
    for _ in range(60):
        low, high = sorted(chance.randint(-1500, 1500) for _ in range(2))
        schema = {"type": "integer", "minimum": low, "maximum": high}
        numbers = [*range(low - 12, low + 12), *range(high - 12, high + 12), *range(-11, 12)]
        accepted = ask(schema, map(str, numbers))["accepted"]
        assert accepted == [low <= number <= high for number in numbers], (low, high)


def test_decimal_ranges_are_exact(ask):
    chance = random.Random(2)
    for _ in range(80):
        low, high = sorted(round(chance.uniform(-3, 3), chance.randint(0, 3)) for _ in range(2))
        bounds = {chance.choice(["minimum", "exclusiveMinimum"]): low, chance.choice(["maximum", "exclusiveMaximum"]): high}
        schema = {"type": "number", **bounds}
        judge = validator(schema)
        if low == high and any("exclusive" in bound for bound in bounds):
            continue
        numbers = [round(near + step, 5) for near in (low, high, 0.0) for step in (-1, -0.1, -1e-3, -1e-5, 0, 1e-5, 1e-3, 0.1, 1)]
        texts = [f"{number:f}".rstrip("0").rstrip(".") for number in numbers]
        texts = ["0" if text == "-0" else text for text in texts]
        accepted = ask(schema, texts)["accepted"]
        assert accepted == [judge.is_valid(json.loads(text)) for text in texts], schema


def test_random_schemas(ask):
    """Any mixture is either refused or makes valid texts only."""
    chance = Chance(3)
    made = refused = 0
    for seed in range(RANDOM_SCHEMAS):
        schema = random_schema(chance, 3)
        answer = ask(schema, count=8, seed=seed)
        if "error" in answer:
            refused += 1
            assert answer["error"].startswith("json_schema: "), (schema, answer)
            continue
        judge = jsonschema.Draft202012Validator(schema)
        for text in answer["made"]:
            try:
                assert judge.is_valid(json.loads(text)), (schema, text)
            except (RecursionError, TypeError):  # $refs in a circle; extras that jsonschema cannot sort
                continue
            made += 1
    print(f"{RANDOM_SCHEMAS} random schemas: {refused} refused, {made} texts valid")
    assert made > 3 * RANDOM_SCHEMAS
