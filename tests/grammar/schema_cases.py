"""Schemas by kind of keyword: (schema, values its grammar must hold); and what is refused, by which keyword.

A schema that names draft 7 in "$schema" is judged by that draft, any other by 2020-12.
"""

D7 = "http://json-schema.org/draft-07/schema#"
TREE = {"$ref": "#/$defs/tree", "$defs": {"tree": {
    "type": "object", "required": ["value"], "additionalProperties": False,
    "properties": {"value": {"type": "integer"}, "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}}}}
VALUES = [None, True, False, 0, -7, 2.5, "", "text", [], [1], {}, {"a": 1}]
IS = {"null": [None], "boolean": [True, False], "integer": [0, -3, 12345678901234], "number": [0, 1.5, -2e30, 7],
      "string": ["", "é\n\"\\\u0007😀"], "array": [[], [1, "a", [None]]], "object": [{}, {"a": {"b": []}}]}


def obj(properties=None, required=None, **more):
    schema = {"type": "object", **more}
    if properties is not None:
        schema["properties"] = properties
    if required is not None:
        schema["required"] = required
    return schema


INT, STR, NULL, BOOL = {"type": "integer"}, {"type": "string"}, {"type": "null"}, {"type": "boolean"}


def const(value):
    return {"const": value}


def types():
    yield True, VALUES
    yield {}, VALUES
    yield {"title": "t", "description": "d", "default": 1, "examples": [1], "$comment": "c", "deprecated": True,
           "readOnly": True, "writeOnly": False, "x-any": {"type": 5}}, VALUES
    for name, values in IS.items():
        yield {"type": name}, values
        yield {"type": [name, "null" if name != "null" else "string"]}, [*values, None]
        yield {"type": [name]}, values
    yield {"type": ["integer", "string", "array"]}, [1, "a", []]
    yield {"type": ["number", "integer"]}, [1, 2.5]
    yield {"type": ["boolean", "object", "null"]}, [True, {}, None]


def enums():
    yield const(1), [1]
    yield const(-1.5e-7), [-1.5e-7]
    yield const(None), [None]
    yield const(False), [False]
    yield const("a\"\\\n\u0001é😀/"), ["a\"\\\n\u0001é😀/"]
    yield const([1, [], {"a": [2, {}]}]), [[1, [], {"a": [2, {}]}]]
    yield const({"a": {"b": None}, "c": []}), [{"a": {"b": None}, "c": []}]
    yield const(12345678901234567890), [12345678901234567890]
    yield {"enum": [1, "1", None, [1], {"a": 1}]}, [1, "1", None, [1], {"a": 1}]
    yield {"enum": ["red", "green", "redder"]}, ["red", "green", "redder"]
    yield {"enum": [1, "a", None], "type": "string"}, ["a"]
    yield {"enum": [1, 2.0, 2.5, 3], "type": "integer"}, [1, 3]
    yield {"enum": [1, 5, 9], "minimum": 2, "maximum": 8}, [5]
    yield {"enum": ["a", "bb", "ccc"], "minLength": 2, "pattern": "b|c"}, ["bb", "ccc"]
    yield {"enum": [[1], [1, 2], [1, "a"]], "items": INT, "minItems": 2}, [[1, 2]]
    yield {"enum": [{"a": 1}, {"b": 1}, {"a": "x"}], "required": ["a"], "properties": {"a": INT}}, [{"a": 1}]
    yield {"enum": [1, 2, 3], "not": {"enum": [2]}}, [1, 3]
    yield {"enum": [1, 2, 3, "x"], "oneOf": [{"minimum": 2}, {"type": "integer"}]}, [1]
    yield {"enum": [[1, 1], [1, 2]], "uniqueItems": True}, [[1, 2]]
    yield {"enum": [[1, "a"], [2]], "contains": STR}, [[1, "a"]]
    yield {"enum": [{"a": 1}, {"a": 1, "b": 2}], "dependentRequired": {"a": ["b"]}}, [{"a": 1, "b": 2}]
    yield {"enum": [4, 5, 6], "multipleOf": 2}, [4, 6]
    yield {"enum": [{"ab": 1}, {"abc": 1}], "propertyNames": {"maxLength": 2}}, [{"ab": 1}]
    yield {"enum": [{"ab": 1}, {"xy": "s"}], "patternProperties": {"^a": STR}}, [{"xy": "s"}]
    yield {"enum": list(range(2000))}, [0, 1999]


def numbers():
    for kind in ("integer", "number"):
        for low, high in ((0, 9), (0, 1), (1, 10), (-5, 5), (-100, -37), (17, 17), (99, 101), (123, 98765), (-1, 0),
                          (0, 2**31 - 1), (-(2**31), 2**31 - 1)):
            yield {"type": kind, "minimum": low, "maximum": high}, [low, high, (low + high) // 2]
        yield {"type": kind, "minimum": 0}, [0, 1, 987654321]
        yield {"type": kind, "maximum": 0}, [0, -1, -98765]
        yield {"type": kind, "minimum": -7}, [-7, 0, 12]
        yield {"type": kind, "exclusiveMinimum": 0}, [1, 2, 10]
        yield {"type": kind, "exclusiveMaximum": 10}, [9, 0, -3]
        yield {"type": kind, "exclusiveMinimum": -1, "exclusiveMaximum": 1}, [0]
        yield {"type": kind, "minimum": 1, "exclusiveMinimum": 1, "maximum": 9}, [2, 9]
        yield {"type": kind, "minimum": 1.5, "maximum": 3.25}, [2, 3]
    yield {"type": "number", "minimum": 0.0, "maximum": 1.0}, [0, 1, 0.5, 0.125, 0.99999]
    yield {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, [0.1, 0.999, 0.0001]
    yield {"type": "number", "minimum": -2.75, "maximum": -0.125}, [-2.75, -0.125, -1, -2.7]
    yield {"type": "number", "minimum": 0.1, "exclusiveMaximum": 0.3}, [0.1, 0.2, 0.29]
    yield {"type": "number", "minimum": 3.14159, "maximum": 3.1416}, [3.14159, 3.1416, 3.141592]
    yield {"type": "number", "minimum": 1e-3, "maximum": 1e3}, [0.001, 1000, 1]
    yield {"type": "number", "maximum": 1e300}, [0, 5]
    yield {"type": "integer", "minimum": 10**15}, [10**15, 10**17]
    for by in (1, 2, 3, 5, 7, 10, 60, 100):
        yield {"type": "integer", "multipleOf": by}, [0, by, -by, 30 * by]
    yield {"type": "integer", "multipleOf": 5, "minimum": 0}, [0, 5, 1000]
    yield {"type": "integer", "multipleOf": 3, "exclusiveMinimum": 0}, [3, 33]
    yield {"type": "integer", "multipleOf": 25, "minimum": -110, "maximum": 60}, [-100, 0, 50]
    yield {"type": "number", "multipleOf": 1, "minimum": 2, "maximum": 4}, [2, 4]
    yield {"type": "number", "multipleOf": 2}, [2, -4]
    yield {"minimum": 3, "type": ["integer", "string"]}, [3, "a"]
    yield {"minimum": 3}, [3, "a", None, [], {}]


def strings():
    for low, high in ((0, 0), (1, 1), (0, 5), (3, 3), (2, 10), (0, 1000)):
        yield {"type": "string", "minLength": low, "maxLength": high}, ["é" * low, "\n" * high, "😀" * low]
    yield {"type": "string", "minLength": 4}, ["abcd", "ab\"\\\n"]
    yield {"type": "string", "maxLength": 2_000_000}, ["", "abc"]
    yield {"minLength": 2}, ["ab", 1, None]
    for pattern, values in (
            ("^[a-z]+$", ["abc"]), ("^\\d{3}-\\d{4}$", ["123-4567"]), ("a", ["bab", "a"]), ("^x", ["x", "xyz"]),
            ("y$", ["y", "xy"]), ("^(foo|bar)$", ["foo", "bar"]), ("^foo$|^bar$", ["foo", "bar"]), ("", ["", "q"]),
            ("^[^\"\\\\]*$", ["", "abc"]), ("^\\w+@\\w+\\.com$", ["a@b.com"]), ("^.{2,4}$", ["ab", "é😀x"]),
            ("^\"\\\\\\n$", ["\"\\\n"]), ("^[A-Z][a-z]*( [A-Z][a-z]*)*$", ["A", "Ada Lovelace"]),
            ("^(\\([0-9]{3}\\))?[0-9]{3}$", ["(888)555", "555"]), ("^[\\u4e00-\\u9fff]{2}$", ["中文"]),
            ("^\\S*$", ["", "a"]), ("^(a+)+$", ["aaa"])):
        yield {"type": "string", "pattern": pattern}, values
    yield {"type": "string", "pattern": "^[a-z]{2,5}$", "minLength": 2, "maxLength": 5}, ["ab", "abcde"]
    yield {"type": "string", "pattern": "^a", "minLength": 1}, ["a", "ab"]
    yield {"allOf": [{"pattern": "^a"}, {"pattern": "^a"}], "type": "string"}, ["a"]
    for name, values in (
            ("date", ["2024-02-29", "1999-12-31"]), ("time", ["23:59:59Z", "00:00:00.5+02:00"]),
            ("date-time", ["2024-02-29T12:00:00Z", "2000-01-01T00:00:00.123-11:30"]),
            ("uuid", ["123e4567-e89b-12d3-a456-426614174000"]), ("email", ["a.b+c@example.org"]),
            ("hostname", ["example", "a-b.example.org"]), ("ipv4", ["127.0.0.1", "255.255.255.255"]),
            ("ipv6", ["::1", "2001:db8::ff00:42:8329", "1:2:3:4:5:6:7:8"]), ("uri", ["https://example.org/a?b=c#d"]),
            ("uri-reference", ["/a/b"]), ("duration", ["P1Y2M3DT4H5M6S", "PT1H", "P3W"]), ("json-pointer", ["", "/a/~0b"]),
            ("unheard-of", ["anything"])):
        yield {"type": "string", "format": name}, values
    yield {"type": "string", "format": "date", "maxLength": 3}, ["abc"]
    yield {"type": "string", "format": "uuid", "minLength": 36, "maxLength": 36}, [
        "123e4567-e89b-12d3-a456-426614174000"]
    yield {"format": "date"}, [1, "2024-01-01", None]
    yield {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"}, ["aGk="]


def objects():
    ab = {"a": INT, "b": STR}
    yield obj(ab), [{}, {"a": 1}, {"b": "x"}, {"a": 1, "b": "x"}]
    yield obj(ab, ["a"]), [{"a": 1}, {"a": 1, "b": "x"}]
    yield obj(ab, ["b"]), [{"b": "x"}, {"a": 1, "b": "x"}]
    yield obj(ab, ["a", "b"], additionalProperties=False), [{"a": 1, "b": "x"}]
    yield obj(ab, additionalProperties=False), [{}, {"b": ""}]
    yield obj(ab, additionalProperties=True), [{}, {"a": 1, "c": [], "": 1, "aa": 2, "é": 3}, {"zz": 1}]
    yield obj(ab, ["b"], additionalProperties=BOOL), [{"b": "", "c": True}, {"b": ""}]
    yield obj({"ab": INT, "abc": INT, "b\"": INT, "😀": INT}, additionalProperties=STR), [
        {"a": "x", "abcd": "y", "b": "", "😁": ""}, {"ab": 1, "abc": 2, "b\"": 3, "😀": 4}]
    yield obj(additionalProperties=INT), [{}, {"a": 1, "b": 2}]
    yield obj(additionalProperties=False), [{}]
    yield obj(required=["a", "b"]), [{"a": 1, "b": None}, {"a": 1, "b": 2, "c": 3}]
    yield obj({"a": {}, "b": True}), [{"a": [], "b": {}}]
    yield obj({"a": False, "b": INT}), [{}, {"b": 1}]
    yield obj({"a": INT}, ["c"], additionalProperties=STR), [{"a": 1, "c": "x"}, {"c": "x", "d": "y"}]
    yield obj({str(i): NULL for i in range(40)}), [{}, {"0": None, "39": None}, {"17": None}]
    yield obj({str(i): NULL for i in range(40)}, ["20"]), [{"20": None}, {"3": None, "20": None, "39": None}]
    yield obj({f"p{i}": INT for i in range(6)}, minProperties=2, maxProperties=3), [
        {"p0": 1, "p5": 1}, {"p1": 1, "p2": 1, "p3": 1}]
    yield obj({f"p{i}": INT for i in range(5)}, ["p2"], maxProperties=2), [{"p2": 1}, {"p2": 1, "p4": 1}]
    yield obj({"a": INT, "b": INT}, minProperties=1), [{"a": 1}, {"b": 1}]
    yield obj(minProperties=1), [{"x": None}]
    yield obj(maxProperties=0), [{}]
    yield obj(maxProperties=2, additionalProperties=INT), [{}, {"a": 1, "b": 2}]
    yield obj({"a": INT}, minProperties=2), [{"a": 1, "b": None}]
    yield obj(patternProperties={"^s_": STR}, additionalProperties=False), [{}, {"s_a": "x", "s_": "y"}]
    yield obj(patternProperties={"^s_": STR, "^n_": INT}), [{"s_a": "x", "n_b": 1}]
    yield obj({"name": STR}, patternProperties={"^x-": True}), [{"name": "", "x-a": [1]}]
    yield obj({"s_a": {"maxLength": 2}}, patternProperties={"^s_": STR}, additionalProperties=False), [{"s_a": "xy"}, {}]
    yield obj(patternProperties={"^[a-z]{2}$": INT}), [{"ab": 1, "cd": 2}]
    yield obj(patternProperties={"^_": False}), [{}]
    yield obj(propertyNames={"pattern": "^[a-z]+$"}), [{"ab": 1}, {}]
    yield obj(propertyNames={"enum": ["x", "y"]}), [{}, {"x": 1}, {"x": 1, "y": None}]
    yield obj(propertyNames={"maxLength": 3}, additionalProperties=INT), [{"abc": 1}]
    yield obj({"a": INT, "toolong": INT}, propertyNames={"maxLength": 3}), [{"a": 1}]
    yield obj(propertyNames={"minLength": 2, "maxLength": 4}, minProperties=1), [{"ab": 1}]
    yield {"properties": {"a": INT}}, [1, "s", {}, {"a": 1}]
    yield {"required": ["a"]}, [1, {"a": None}]
    yield obj({"a": obj({"b": obj({"c": INT}, ["c"])}, ["b"])}, ["a"]), [{"a": {"b": {"c": 1}}}]
    yield obj({"a": {"type": ["string", "null"]}}, ["a"]), [{"a": None}, {"a": "x"}]
    yield obj({"a\"\n\\é": INT, "": STR}), [{"a\"\n\\é": 1, "": ""}]
    yield obj({"a": INT}, unevaluatedProperties=False), [{}, {"a": 1}]
    yield {"allOf": [obj({"a": INT}), obj({"b": STR})], "unevaluatedProperties": False}, [{"a": 1, "b": "x"}]
    yield {"$ref": "#/$defs/base", "$defs": {"base": obj({"a": INT})}, "properties": {"b": STR},
           "unevaluatedProperties": False}, [{"b": "", "a": 1}]
    yield obj({"a": INT}, unevaluatedProperties=STR), [{"a": 1, "z": "q"}]
    yield obj({"a": INT, "b": INT, "c": INT}, dependentRequired={"a": ["b"]}), [{}, {"a": 1, "b": 2}, {"b": 1}, {"c": 1}]
    yield obj({"a": INT, "b": INT}, ["a"], dependentRequired={"a": ["b"]}), [{"a": 1, "b": 2}]
    yield obj({"a": INT, "b": INT}, dependentSchemas={"a": {"properties": {"b": {"minimum": 10}}}}), [
        {"a": 1, "b": 10}, {"b": 1}]
    yield {"$schema": D7, **obj({"a": INT, "b": INT}, dependencies={"a": ["b"], "b": {"maxProperties": 2}})}, [
        {"a": 1, "b": 1}, {"b": 3}]


def arrays():
    yield {"type": "array", "items": INT}, [[], [1], [1, 2, 3]]
    for low, high in ((0, 0), (1, 1), (0, 2), (2, 4), (3, 3), (0, 300)):
        yield {"type": "array", "items": BOOL, "minItems": low, "maxItems": high}, [[True] * low, [False] * high]
    yield {"type": "array", "minItems": 2}, [[1, None], [1, 2, 3]]
    yield {"type": "array", "items": INT, "minItems": 1}, [[1], [1, 2]]
    yield {"type": "array", "items": False}, [[]]
    yield {"type": "array", "items": {"type": "array", "items": INT}}, [[], [[]], [[1], [2, 3]]]
    yield {"type": "array", "prefixItems": [INT, STR]}, [[], [1], [1, "a"]]
    yield {"type": "array", "prefixItems": [INT, STR], "items": False}, [[], [1, "a"]]
    yield {"type": "array", "prefixItems": [INT, STR], "items": NULL}, [[1], [1, "a", None, None]]
    yield {"type": "array", "prefixItems": [INT, STR], "minItems": 2, "items": False}, [[1, "a"]]
    yield {"type": "array", "prefixItems": [INT, STR, BOOL], "minItems": 1, "maxItems": 2}, [[1], [1, "a"]]
    yield {"type": "array", "prefixItems": [INT], "minItems": 3}, [[1, None, "a"]]
    yield {"type": "array", "prefixItems": [INT], "items": STR, "minItems": 2, "maxItems": 4}, [[1, "a"], [1, "a", "b", "c"]]
    yield {"$schema": D7, "type": "array", "items": [INT, STR]}, [[1, "a"], []]
    yield {"$schema": D7, "type": "array", "items": [INT], "additionalItems": False}, [[1], []]
    yield {"$schema": D7, "type": "array", "items": [INT], "additionalItems": STR}, [[1, "a", "b"]]
    yield {"$schema": D7, "type": "array", "items": INT, "additionalItems": False}, [[1, 2]]
    yield {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True}, [[], ["a", "c"], ["a", "b", "c"]]
    yield {"type": "array", "items": {"enum": [1, 2, 1.0, 3]}, "uniqueItems": True, "minItems": 2, "maxItems": 2}, [[1, 3]]
    yield {"type": "array", "items": BOOL, "uniqueItems": True, "minItems": 2}, [[True, False]]
    yield {"type": "array", "uniqueItems": True, "maxItems": 1}, [[], [{}]]
    yield {"type": "array", "uniqueItems": False, "items": INT}, [[1, 1]]
    yield {"type": "array", "contains": const(7)}, [[7], [7, 1, "a"]]
    yield {"type": "array", "items": INT, "contains": {"minimum": 5}, "minContains": 2}, [[5, 6], [5, 6, 1]]
    yield {"type": "array", "items": INT, "contains": STR, "minContains": 0}, [[], [1]]
    yield {"type": "array", "prefixItems": [INT], "unevaluatedItems": False}, [[1], []]
    yield {"type": "array", "prefixItems": [INT], "unevaluatedItems": STR}, [[1, "a"]]
    yield {"allOf": [{"prefixItems": [INT]}, {"prefixItems": [True, STR]}], "type": "array", "unevaluatedItems": False}, [
        [1, "a"]]
    yield {"items": INT, "maxItems": 2}, [1, "a", [1, 2]]
    yield {"type": "array", "items": {"type": ["integer", "null"]}}, [[None, 1]]
    yield {"type": "array", "items": obj({"a": INT}, ["a"])}, [[{"a": 1}, {"a": 2}]]
    yield {"type": "array", "items": INT, "maxItems": 2_000_000_000}, [[1]]


def combined():
    yield {"anyOf": [INT, STR]}, [1, "a"]
    yield {"anyOf": [{"type": "integer", "minimum": 5}, {"type": "integer", "maximum": 2}]}, [5, 2]
    yield {"anyOf": [{"minimum": 5}, {"minLength": 2}], "type": ["integer", "string"]}, [5, "ab"]
    yield {"anyOf": [obj({"a": INT}, ["a"]), obj({"b": INT}, ["b"])]}, [{"a": 1}, {"b": 1}]
    yield {"anyOf": [True, INT]}, VALUES
    yield {"anyOf": [False, INT]}, [1]
    yield {"anyOf": [{"anyOf": [NULL, BOOL]}, {"anyOf": [INT, STR]}]}, [None, True, 1, "a"]
    yield {**obj({"a": INT, "b": INT}), "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, [{"a": 1}, {"b": 1}]
    yield {"oneOf": [INT, STR]}, [1, "a"]
    yield {"oneOf": [const("a"), const("b")]}, ["a", "b"]
    yield {"oneOf": [obj({"kind": const("a"), "x": INT}, ["kind"]), obj({"kind": const("b"), "y": STR}, ["kind"])]}, [
        {"kind": "a", "x": 1}, {"kind": "b", "y": ""}]
    yield {"oneOf": [{"type": "integer", "maximum": 4}, {"type": "integer", "minimum": 5}]}, [4, 5]
    yield {"oneOf": [{"type": "integer", "maximum": 6}, {"type": "integer", "minimum": 5}]}, [4, 7]
    yield {"oneOf": [{"type": "string", "maxLength": 3}, {"type": "string", "minLength": 4}]}, ["abc", "abcd"]
    yield {"oneOf": [{"type": "array", "maxItems": 1, "items": INT}, {"type": "array", "minItems": 2, "items": INT}]}, [
        [1], [1, 2]]
    yield {**obj({"a": INT, "b": INT}), "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, [{"a": 1}, {"b": 1}]
    yield {"oneOf": [obj({"a": INT}, ["a"], additionalProperties=False), obj({"b": INT}, ["b"], additionalProperties=False)]}, [
        {"a": 1}, {"b": 1}]
    yield {"oneOf": [NULL, obj({"a": INT})]}, [None, {"a": 1}]
    yield {"oneOf": [True, False]}, VALUES
    yield {"oneOf": [{"enum": [1, 2]}, {"enum": [2, 3]}]}, [1, 3]
    yield {"oneOf": [obj({"v": {"type": "array"}}, ["v"]), obj({"v": {"type": "object"}}, ["v"])]}, [{"v": []}, {"v": {}}]
    yield {"allOf": [INT, {"minimum": 3}, {"maximum": 9}]}, [3, 9]
    yield {"allOf": [obj({"a": INT}, ["a"]), obj({"b": STR}, ["b"])]}, [{"a": 1, "b": "x"}]
    yield {"allOf": [obj({"a": {"minimum": 1}}), obj({"a": {"type": "integer", "maximum": 3}}, ["a"])]}, [{"a": 1}, {"a": 3}]
    yield {"allOf": [{"type": ["string", "null"]}, {"type": ["null", "integer"]}]}, [None]
    yield {"allOf": [{"minLength": 2}, {"maxLength": 3}], "type": "string"}, ["ab", "abc"]
    yield {"allOf": [{"anyOf": [INT, STR]}, {"anyOf": [STR, NULL]}]}, ["a"]
    yield {"allOf": [{"items": INT}, {"items": {"minimum": 2}}], "type": "array"}, [[2, 3]]
    yield {"allOf": []}, VALUES
    yield {"not": {"type": "string"}}, [1, None, [], {}]
    yield {"type": ["string", "integer"], "not": STR}, [1]
    yield {"type": "integer", "not": {"minimum": 5}}, [4, -1]
    yield {"type": "integer", "not": {"type": "string"}}, [1]
    yield {"type": "string", "not": {"maxLength": 3}}, ["abcd"]
    yield {**obj({"a": INT, "b": INT}), "not": {"required": ["a"]}}, [{}, {"b": 1}]
    yield {"type": "boolean", "not": const(True)}, [False]
    yield {"not": False}, VALUES
    yield {"type": "integer", "not": {"not": {"minimum": 3}}}, [3]
    yield {"type": "integer", "not": {"anyOf": [{"minimum": 5}, {"maximum": 0}]}}, [1, 4]
    yield {"type": "integer", "not": {"allOf": [{"minimum": 5}, {"maximum": 9}]}}, [4, 10]
    yield {**obj({"k": {"enum": ["a", "b"]}, "x": INT}, ["k"]), "if": {"properties": {"k": const("a")}},
           "then": {"required": ["x"]}}, [{"k": "a", "x": 1}, {"k": "b"}]
    yield {**obj({"k": {"enum": ["a", "b"]}, "x": INT, "y": INT}), "if": {"properties": {"k": const("a")}, "required": ["k"]},
           "then": {"required": ["x"]}, "else": {"required": ["y"]}}, [{"k": "a", "x": 1}, {"k": "b", "y": 1}, {"y": 1}]
    yield {**obj({"on": BOOL, "x": INT}, ["on"]), "if": {"properties": {"on": const(True)}}, "then": {"required": ["x"]}}, [
        {"on": True, "x": 1}, {"on": False}]
    yield {"type": "integer", "if": {"minimum": 10}, "then": {"maximum": 20}, "else": {"minimum": 0}}, [15, 3]
    yield {"if": INT, "then": {"minimum": 0}, "else": STR}, [1, "a"]
    yield {"then": {"minimum": 0}, "type": "integer"}, [-1]
    yield {"type": "integer", "if": True, "then": {"minimum": 3}}, [3]


def references():
    yield TREE, [{"value": 1}, {"value": 1, "children": [{"value": 2, "children": []}, {"value": 3}]}]
    yield {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": INT}}, [1]
    yield {"$schema": D7, "$ref": "#/definitions/a", "definitions": {"a": {"type": "string", "maxLength": 2}}}, ["ab"]
    yield {"$schema": D7, **obj({"a": {"$ref": "#/definitions/i"}}, ["a"]), "definitions": {"i": INT}}, [{"a": 1}]
    yield {"$ref": "#/$defs/a", "maximum": 5, "$defs": {"a": {"type": "integer", "minimum": 3}}}, [3, 5]
    yield obj({"a": INT, "b": {"$ref": "#/properties/a"}}), [{"a": 1, "b": 2}]
    yield {"$defs": {"a/b~c d": INT}, "$ref": "#/$defs/a~1b~0c%20d"}, [1]
    yield {"$defs": {"x": {"$anchor": "here", "type": "integer"}}, "$ref": "#here"}, [1]
    yield {"$schema": D7, "definitions": {"x": {"$id": "#here", "type": "integer"}}, "$ref": "#/definitions/x"}, [1]
    yield {"$id": "https://example.org/s", "$defs": {"x": INT}, "type": "array",
           "items": {"$ref": "https://example.org/s#/$defs/x"}}, [[1]]
    yield obj({"next": {"$ref": "#"}, "v": INT}, additionalProperties=False), [{}, {"next": {"next": {"v": 1}}}]
    yield {"anyOf": [INT, {"type": "array", "items": {"$ref": "#"}}]}, [1, [], [1, [2, [[]]]]]
    yield obj({"a": {"anyOf": [NULL, {"$ref": "#"}]}}, ["a"]), [{"a": None}, {"a": {"a": None}}]
    yield obj({"a": obj({"loop": {"$ref": "#/properties/a"}}, ["loop"]), "b": INT}), [{"b": 1}, {}]
    yield {"$defs": {"even": {"type": "array", "prefixItems": [{"$ref": "#/$defs/odd"}], "items": False},
                     "odd": {"anyOf": [NULL, {"type": "array", "prefixItems": [{"$ref": "#/$defs/even"}], "items": False}]}},
           "$ref": "#/$defs/even"}, [[], [None], [[[]]]]
    yield {"prefixItems": [INT, {"$ref": "#/prefixItems/0"}], "type": "array"}, [[1, 2]]


ACCEPTED = [case for kind in (types, enums, numbers, strings, objects, arrays, combined, references) for case in kind()]

REFUSED = [
    (False, "no value"),
    ({"type": "number", "multipleOf": 0.01}, "multipleOf"),
    ({"type": "integer", "multipleOf": 0}, "multipleOf"),
    ({"type": "integer", "multipleOf": 7, "minimum": 5}, "multipleOf"),
    ({"type": "integer", "allOf": [{"multipleOf": 2}, {"multipleOf": 3}]}, "multipleOf"),
    ({"type": "integer", "minimum": 1e30}, "minimum"),
    ({"type": "integer", "minimum": 5, "maximum": 4}, "no value"),
    ({"type": "string", "minLength": 5, "maxLength": 4}, "no value"),
    ({"type": "string", "minLength": 2_000_000_000}, "minLength"),
    ({"type": "string", "pattern": "(?=a)"}, "pattern"),
    ({"type": "string", "pattern": "(a)\\1"}, "pattern"),
    ({"type": "string", "pattern": "(((("}, "pattern"),
    ({"type": "string", "pattern": "foo**"}, "pattern"),
    ({"type": "string", "pattern": "^a+$", "maxLength": 3}, "pattern"),
    ({"type": "string", "allOf": [{"pattern": "a"}, {"pattern": "b"}]}, "pattern"),
    ({"type": "array", "uniqueItems": True}, "uniqueItems"),
    ({"type": "array", "items": STR, "uniqueItems": True}, "uniqueItems"),
    ({"type": "array", "contains": INT, "maxContains": 2}, "maxContains"),
    ({"type": "array", "minItems": 1_000_000_000}, "minItems"),
    (obj(minProperties=2), "minProperties"),
    (obj({"a": INT}, minProperties=3), "minProperties"),
    (obj(patternProperties={"a": INT, "b": STR}), "patternProperties"),
    (obj(patternProperties={"^a": INT, "^ab": STR}), "patternProperties"),
    (obj(patternProperties={"(": INT}), "patternProperties"),
    (obj(patternProperties={"^a": INT}, propertyNames={"maxLength": 3}), "patternProperties"),
    (obj({"a": False}, ["a"]), "no value"),
    ({"oneOf": [INT, {"type": "number"}]}, "oneOf"),
    ({"oneOf": [STR, STR]}, "oneOf"),
    ({"oneOf": [{"type": "string", "pattern": "a"}, {"type": "string", "pattern": "b"}]}, "oneOf"),
    ({"type": "string", "not": const("a")}, "not"),
    ({"type": "string", "not": {"pattern": "a"}}, "not"),
    ({"type": "string", "if": {"pattern": "a"}, "then": {"maxLength": 3}}, "if"),
    ({"not": {}}, "no value"),
    ({"$ref": "#"}, "$ref"),
    ({"anyOf": [STR, {"$ref": "#"}]}, "$ref"),
    ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "$ref"),
    (obj({"a": {"$ref": "#"}}, ["a"]), "$ref"),
    ({"$ref": "#/$defs/none"}, "$ref"),
    ({"$ref": "other.json#/a"}, "$ref"),
    ({"$dynamicRef": "#a"}, "$dynamicRef"),
    ({"$recursiveRef": "#"}, "$recursiveRef"),
    (obj({"a": {"$id": "https://example.org/x", "type": "integer"}}), "$id"),
    ({"type": "text"}, "type"),
    ({"type": 5}, "type"),
    ({"enum": 5}, "enum"),
    ({"enum": []}, "no value"),
    ({"enum": list(range(10_001))}, "enum"),
    ({"type": "object", "properties": []}, "properties"),
    ({"type": "object", "required": "a"}, "required"),
    ({"type": "string", "minLength": -1}, "minLength"),
    ({"type": "string", "maxLength": 1.5}, "maxLength"),
    ({"type": "integer", "minimum": "1"}, "minimum"),
    ({"anyOf": {}}, "anyOf"),
    ({"allOf": [5]}, "must be an object, true or false"),
    ({"allOf": [{"anyOf": [{"minimum": i} for i in range(40)]}, {"anyOf": [{"maximum": i} for i in range(40)]}]}, "anyOf"),
    (5, "must be an object, true or false"),
]
