"""Schemas of every keyword at random, small enough that keywords meet."""

import random

NAMES = ["a", "b", "ab", "c"]
VALUES = [None, True, False, 0, 1, 2, -1, 1.5, 1.0, "", "a", "ab", "b", [], [1], [1, 1], ["a"], {}, {"a": 1}, {"b": "a"}]
TYPES = ["null", "boolean", "object", "array", "number", "integer", "string"]
PATTERNS = ["^a", "b$", "^[ab]{1,2}$", "^ab?$", "c"]


def subset(chance, items):
    return chance.sample(items, chance.randint(1, min(3, len(items))))


class Chance(random.Random):
    unevaluated = False  # whether the schema may have unevaluated*


def random_schema(chance, depth):
    if depth == 3:
        chance.unevaluated = chance.random() < 0.3
    if chance.random() < 0.04:
        return chance.random() < 0.8
    schema = {}
    for _ in range(chance.choice([1, 1, 2, 2, 3, 4])):
        add_keyword(chance, schema, depth)
    if depth == 3 and chance.random() < 0.2:
        schema["$defs"] = {"d": random_schema(chance, 1)}
    return schema


def add_keyword(chance, schema, depth):
    def inner():
        if chance.random() < 0.06:
            return {"$ref": "#"}
        return random_schema(chance, depth - 1) if depth > 0 else {"type": chance.choice(TYPES)}

    def members():
        return {name: inner() for name in subset(chance, NAMES)}

    def several():
        return [inner() for _ in range(chance.randint(1, 3))]

    count, number = chance.randint(0, 3), chance.choice([0, 1, -1, 2, 3, 0.5, 1.25, 10])
    scalar = {
        "type": lambda: chance.choice(TYPES) if chance.random() < 0.7 else subset(chance, TYPES),
        "enum": lambda: subset(chance, VALUES), "const": lambda: chance.choice(VALUES),
        "minimum": lambda: number, "maximum": lambda: number, "exclusiveMinimum": lambda: number,
        "exclusiveMaximum": lambda: number, "multipleOf": lambda: chance.choice([1, 2, 5]),
        "minLength": lambda: count, "maxLength": lambda: count, "pattern": lambda: chance.choice(PATTERNS),
        "minItems": lambda: count, "maxItems": lambda: count, "uniqueItems": lambda: chance.random() < 0.5,
        "minProperties": lambda: chance.randint(0, 1), "maxProperties": lambda: count,
        "required": lambda: subset(chance, NAMES), "dependentRequired": lambda: {"a": subset(chance, NAMES)},
        "minContains": lambda: chance.randint(0, 2),
    }
    nested = {
        "properties": members, "patternProperties": lambda: {chance.choice(PATTERNS): inner()},
        "additionalProperties": inner, "propertyNames": inner, "items": inner, "prefixItems": several, "contains": inner,
        "anyOf": several, "oneOf": several, "allOf": several, "not": inner, "if": inner, "then": inner, "else": inner,
        "dependentSchemas": lambda: {"a": inner()}, "unevaluatedProperties": inner, "unevaluatedItems": inner,
    }
    keyword = chance.choice(["type", "properties", "required", *scalar, *(nested if depth > 0 else ())])
    # jsonschema 4.10 sees what these two cover where they are true or false only.
    if keyword in ("additionalProperties", "unevaluatedProperties") and chance.unevaluated:
        schema[keyword] = chance.random() < 0.5
        return
    if keyword.startswith("unevaluated") and not chance.unevaluated:
        return
    schema[keyword] = {**scalar, **nested}[keyword]()
