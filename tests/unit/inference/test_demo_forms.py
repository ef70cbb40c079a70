"""The demo's answers of a form: JSON after any schema, held against another validator, and calls of tools."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.inference.providers.base import AnswerRecord
from services.inference.providers.demo import Demo
from services.inference.providers.demo_bounds import NoInstanceError
from services.inference.providers.demo_json import instance
from services.inference.providers.demo_patterns import text_like
from services.mesh.errors import MeshError
from tests.unit.inference.calls import completed, events, parts, request, text_of

NAMES = st.sampled_from(["city", "n", "tags", "a b", "é", "x1"])
LEAVES = st.one_of(
    st.just(True),
    st.just({}),
    st.sampled_from([{"type": kind} for kind in ("string", "integer", "number", "boolean", "null", "object", "array")]),
    st.lists(st.one_of(st.integers(-5, 5), st.text(max_size=3), st.none()), min_size=1, max_size=3).map(
        lambda values: {"enum": values}
    ),
    st.integers(-100, 100).map(lambda value: {"const": value}),
    st.tuples(st.integers(-50, 50), st.integers(1, 60), st.sampled_from([1, 2, 5])).map(
        lambda one: {"type": "integer", "minimum": one[0], "maximum": one[0] + one[1] + 5, "multipleOf": one[2]}
    ),
    st.tuples(st.floats(-9, 9), st.floats(0.01, 4)).map(
        lambda one: {"type": "number", "exclusiveMinimum": one[0], "exclusiveMaximum": one[0] + one[1]}
    ),
    st.tuples(st.integers(0, 9), st.integers(0, 9)).map(
        lambda one: {"type": "string", "minLength": one[0], "maxLength": one[0] + one[1]}
    ),
    st.sampled_from(["^[a-z]{3}$", "^\\d+-\\d{2}$", "^(red|green)$", "[^0-9]x?", "^\\+?[0-9 ]{7,}$"]).map(
        lambda pattern: {"type": "string", "pattern": pattern}
    ),
    st.sampled_from(["date-time", "date", "uuid", "email", "ipv4", "uri"]).map(
        lambda form: {"type": "string", "format": form}
    ),
    st.just({"type": ["null", "integer"]}),
)


def _larger(schemas: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    properties = st.dictionaries(NAMES, schemas, max_size=3)
    return st.one_of(
        st.tuples(properties, st.booleans()).map(
            lambda one: {
                "type": "object",
                "properties": one[0],
                "required": sorted(one[0]) if one[1] else [],
                "additionalProperties": False,
            }
        ),
        st.tuples(schemas, st.integers(0, 3)).map(
            lambda one: {"type": "array", "items": one[0], "minItems": one[1], "maxItems": one[1] + 1}
        ),
        st.lists(schemas, min_size=1, max_size=3).map(lambda all_of: {"type": "array", "prefixItems": all_of}),
        st.lists(schemas, min_size=1, max_size=3).map(lambda branches: {"anyOf": branches}),
        schemas.map(lambda one: {"allOf": [one, {"description": "d"}]}),
        schemas.map(lambda one: {"$defs": {"it": one}, "properties": {"it": True}, "type": "object"}),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.recursive(LEAVES, _larger, max_leaves=8))
def test_what_it_makes_is_valid_by_another_validator(schema: Any) -> None:
    made = instance(schema)
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(made)
    assert instance(schema) == made


ADDRESS = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["value", "next"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}


@pytest.mark.parametrize(
    "schema",
    [
        ADDRESS,
        {"oneOf": [{"type": "integer", "multipleOf": 5}, {"type": "integer", "multipleOf": 3}], "minimum": 4},
        {"type": "array", "uniqueItems": True, "minItems": 4, "items": {"type": "string"}},
        {"type": "array", "uniqueItems": True, "minItems": 2, "items": {"type": "boolean"}},
        {"type": "array", "contains": {"const": 7}, "items": {"type": "integer"}},
        {"type": "object", "minProperties": 3, "additionalProperties": {"type": "integer"}},
        {"type": "object", "patternProperties": {"^x": {"const": 1}}, "required": ["xy"]},
        {"type": "object", "properties": {"a": {}}, "dependentRequired": {"a": ["b"]}},
        {"properties": {"a": {"const": 1}}, "required": ["a"], "if": {"required": ["a"]}, "then": {"required": ["b"]}},
        {"type": "string", "not": {"const": "demo"}, "enum": ["demo", "other"]},
        {"type": "object", "properties": {"no": False, "yes": {"type": "string"}}},
    ],
)
def test_harder_ones(schema: Any) -> None:
    jsonschema.Draft202012Validator(schema).validate(instance(schema))


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (False, "allows nothing"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "no number"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "no type"),
        ({"type": "nonsense"}, "not a JSON Schema"),
        ({"$ref": "https://example.com/schema.json"}, "nothing is fetched"),
        ({"$ref": "#/nowhere"}, "not a JSON Schema"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "circle"),
        (
            {"$defs": {"a": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"},
            "deep",
        ),
        ({"type": "array", "minItems": 10**9}, "at most 1000"),
        ({"type": "string", "minLength": 10**9}, "more than a demo"),
        ({"type": "string", "pattern": "(a)\\1"}, "not a JSON Schema"),
        ({"type": "string", "pattern": "^(.{10}b)$", "minLength": 20}, "cannot write"),
        ({"description": "x" * 70_000}, "32,768 bytes"),
    ],
)
def test_what_it_cannot_make_it_says(schema: Any, why: str) -> None:
    with pytest.raises(NoInstanceError, match=why):
        instance(schema)


@given(st.from_regex(r"\\A[a-c]{0,3}(x|yy)?[0-9]+\\Z"))
def test_a_text_like_any_literal_is_that(text: str) -> None:
    assert text_like(re.escape(text)) == text


async def test_json_of_a_schema_whole_and_streamed() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    asked = request("?", response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}})
    whole = await completed(Demo("demo", 0), asked)
    assert json.loads(whole["choices"][0]["message"]["content"]) == {"city": "demo"}
    got = await parts(Demo("demo", 0), asked, AnswerRecord())
    assert json.loads(text_of(events(b"".join(part.data for part in got)))) == {"city": "demo"}


async def test_a_json_object_says_that_it_is_a_demo() -> None:
    raw = await completed(Demo("demo", 0), request("?", response_format={"type": "json_object"}))
    assert "demo" in json.loads(raw["choices"][0]["message"]["content"])["note"]


TOOLS = [
    {"type": "function", "function": {"name": "look_up", "parameters": {"required": ["q"], "properties": {"q": {}}}}},
    {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},
    {"type": "function", "function": {"name": "bare"}},
]


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ("required", "look_up"),
        ({"type": "function", "function": {"name": "bare"}}, "bare"),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "add"}}]},
            },
            "add",
        ),
    ],
)
async def test_a_tool_that_must_be_called_is(choice: Any, name: str) -> None:
    asked = request("?", tools=TOOLS, tool_choice=choice)
    answer = (await completed(Demo("demo", 0), asked))["choices"][0]
    assert (answer["finish_reason"], answer["message"]["content"]) == ("tool_calls", None)
    (call,) = answer["message"]["tool_calls"]
    assert (call["type"], call["function"]["name"]) == ("function", name)
    assert isinstance(json.loads(call["function"]["arguments"]), dict)

    record = AnswerRecord()
    got = await parts(Demo("demo", 0), asked, record)
    (chunk,) = events(b"".join(part.data for part in got))
    (delta,) = chunk["choices"][0]["delta"]["tool_calls"]
    assert (delta["index"], delta["function"]["name"]) == (0, name)
    assert record.finish_reasons == {0: "tool_calls"}
    assert record.output_bytes > 0


@pytest.mark.parametrize("choice", [None, "auto", "none"])
async def test_a_tool_that_may_be_called_is_not(choice: Any) -> None:
    raw = await completed(Demo("demo", 0), request("Hello", tools=TOOLS, tool_choice=choice))
    assert "tool_calls" not in raw["choices"][0]["message"]


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "x"}}}},
            "response_format",
        ),
    ],
)
async def test_what_cannot_be_done_is_refused(asked: Any, param: str) -> None:
    record = AnswerRecord()
    with pytest.raises(MeshError) as caught:
        await parts(Demo("demo", 0), request("?", **asked), record)
    assert (caught.value.reason, caught.value.metadata) == ("INVALID_FIELD", {"param": param})
    assert not record.sent
