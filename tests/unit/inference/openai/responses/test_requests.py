"""Responses requests: what is refused and which parameter is named, and what becomes of the rest."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from promptmesh.inference.v1 import receipt_pb2

from services.inference.catalog import Catalog
from services.inference.engine.call import CacheControl
from services.inference.openai.bodies import KNOWN as CHAT_KNOWN
from services.inference.openai.chat_rules import RULES
from services.inference.openai.errors import error_object, http_status
from services.inference.openai.fields import check
from services.inference.openai.responses import call_of, count
from services.inference.openai.responses.requests import Asked, read
from services.inference.providers.demo import Demo
from services.inference.routing.route import Route, Target
from services.inference.sizes import PART_TOKENS_MAX
from services.mesh.call import Call, Caller, CallerKind, enter
from services.mesh.errors import MeshError

TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": True, "description": "Looks."}
OTHER = {"type": "function", "name": "go"}
IMAGE = "https://example.com/a.png"


def asked(**fields: Any) -> Asked:
    return read(orjson.dumps({"input": "Hi", **fields}))


def said(**fields: Any) -> dict[str, Any]:
    """Of chat completions, beside the messages."""
    return {key: value for key, value in asked(**fields).chat.items() if key != "messages"}


def messages(*items: Any, **fields: Any) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = asked(input=list(items), **fields).chat["messages"]
    return made


def part(**fields: Any) -> list[Any]:
    return [{"role": "user", "content": [fields]}]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": ["Hi"]}, "input[0]"),
        ({"input": [{"type": "web_search_call"}]}, "input[0].type"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"type": ["message"]}]}, "input[0].type"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": ["Hi"]}]}, "input[0].content[0].type"),
        ({"input": part(type="text", text="Hi")}, "input[0].content[0].type"),
        ({"input": part(type="input_text")}, "input[0].content[0].text"),
        ({"input": part(type="input_image", file_id="f")}, "input[0].content[0].file_id"),
        ({"input": part(type="input_image")}, "input[0].content[0].image_url"),
        ({"input": part(type="input_file", file_url=IMAGE)}, "input[0].content[0].file_url"),
        ({"input": part(type="input_file", filename="a.pdf")}, "input[0].content[0].file_data"),
        ({"input": part(type="input_audio", input_audio="x")}, "input[0].content[0].input_audio"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "", "arguments": "{}"}]}, "input[0].name"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}]}, "input[0].arguments"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"truncation": "auto"}, "truncation"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [TOOL, {"type": "file_search"}]}, "tools[1].type"),
        ({"tools": [{"type": "computer_use_preview"}]}, "tools[0].type"),
        ({"tools": [{"type": "mcp"}]}, "tools[0].type"),
        ({"tools": [{"type": "custom", "name": "x"}]}, "tools[0].type"),
        ({"tools": ["look"]}, "tools[0]"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "function", "name": ""}]}, "tools[0].name"),
        ({"tools": [{**TOOL, "parameters": "x"}]}, "tools[0].parameters"),
        ({"tools": [{**TOOL, "strict": "yes"}]}, "tools[0].strict"),
        ({"tools": {}}, "tools"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "look"}}, "tool_choice.name"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "tools": [TOOL]}}, "tool_choice.mode"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto"}}, "tool_choice.tools"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [OTHER]}},
            "tool_choice.tools[0].name",
        ),
        ({"text": "json"}, "text"),
        ({"text": {"format": "json"}}, "text.format.type"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"text": {"verbosity": 3}}, "text.verbosity"),
        ({"reasoning": "low"}, "reasoning"),
        ({"reasoning": {"effort": 1}}, "reasoning.effort"),
        ({"include": ["everything"]}, "include[0]"),
        ({"include": [7]}, "include[0]"),
        ({"instructions": ["Be kind."]}, "instructions"),
        ({"model": 7}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"store": "no"}, "store"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": "7"}, "max_output_tokens"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"stop": [1]}, "stop"),
        ({"metadata": {"k": 1}}, "metadata"),
        ({"messages": []}, "messages"),
        ({"n": 2}, "n"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_a_faulty_request_names_its_parameter(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(MeshError) as caught:
        asked(**fields)
    assert http_status(caught.value) == 400
    told = error_object(caught.value)
    assert (told["type"], told["param"]) == ("invalid_request_error", param)


def test_what_has_moved_is_told_where_it_is_now() -> None:
    with pytest.raises(MeshError, match=r"Use `text\.format`"):
        asked(response_format={"type": "json_object"})


@given(st.recursive(st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5), lambda inner: (
    st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(
        ["input", "role", "content", "type", "text", "format", "tools", "tool_choice", "name", "include", "reasoning"]
    ), inner | st.sampled_from(["user", "message", "function", "input_text", "json_schema", "function_call"]))
), max_leaves=12))  # fmt: skip
def test_any_json_is_taken_or_refused_with_400_and_what_is_taken_is_chat_completions(value: Any) -> None:
    try:
        made = read(orjson.dumps(value))
    except MeshError as error:
        refused = error
    else:
        check(made.chat, RULES)
        assert made.chat["messages"]
        return
    assert http_status(refused) == 400


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([{"role": "user", "content": "Hi"}], [{"role": "user", "content": "Hi"}]),
        (
            [{"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]}],
            [{"role": "system", "content": "Be kind."}],
        ),
        (
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "What is it?"},
                        {"type": "input_image", "image_url": IMAGE, "detail": "low"},
                        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,eA=="},
                        {"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}},
                    ],
                }
            ],
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is it?"},
                        {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}},
                        {
                            "type": "file",
                            "file": {"file_data": "data:application/pdf;base64,eA==", "filename": "a.pdf"},
                        },
                        {"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}},
                    ],
                }
            ],
        ),
        (
            # As an answer said it, sent back.
            [
                {"type": "reasoning", "id": "rs_1", "summary": []},
                {
                    "type": "message",
                    "id": "msg_1",
                    "status": "completed",
                    "role": "assistant",
                    "content": [
                        {"type": "output_text", "text": "One ", "annotations": []},
                        {"type": "output_text", "text": "moment.", "annotations": []},
                    ],
                },
                {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "look", "arguments": "{}"},
                {"type": "function_call", "id": "fc_2", "call_id": "c2", "name": "look", "arguments": ""},
                {"type": "function_call_output", "call_id": "c1", "output": "A cat."},
                {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "A dog."}]},
            ],
            [
                {
                    "role": "assistant",
                    "content": "One moment.",
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}},
                        {"id": "c2", "type": "function", "function": {"name": "look", "arguments": ""}},
                    ],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "A cat."},
                {"role": "tool", "tool_call_id": "c2", "content": "A dog."},
            ],
        ),
        (
            [
                {"role": "user", "content": "Hi"},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""},
            ],
            [
                {"role": "user", "content": "Hi"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}],
                },
            ],
        ),
        (
            [{"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}],
            [{"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}],
        ),
    ],
)
def test_items_become_messages(items: list[Any], expected: list[Any]) -> None:
    assert messages(*items) == expected
    assert messages(*items, instructions="Be kind.") == [{"role": "system", "content": "Be kind."}, *expected]


CHAT_TOOL = {
    "type": "function",
    "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}, "strict": True},
}
CHAT_OTHER = {"type": "function", "function": {"name": "go"}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        (
            {"model": "m", "temperature": 0, "top_p": 1, "user": "u"},
            {"model": "m", "temperature": 0, "top_p": 1, "user": "u"},
        ),
        ({"store": True, "metadata": {"a": "b"}, "truncation": "disabled", "background": False}, {}),
        ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        (
            {"stream": True, "stream_options": {"include_obfuscation": False}},
            {"stream": True, "stream_options": {"include_usage": True}},
        ),
        ({"max_output_tokens": 7}, {}),  # the call's cap
        ({"tools": [TOOL]}, {"tools": [CHAT_TOOL]}),
        ({"tools": [OTHER]}, {"tools": [CHAT_OTHER]}),
        ({"tools": []}, {}),
        ({"tool_choice": "auto", "parallel_tool_calls": True}, {}),  # which nothing can be chosen from
        (
            {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
            {"tools": [CHAT_TOOL], "tool_choice": "required", "parallel_tool_calls": False},
        ),
        (
            {"tools": [TOOL, OTHER], "tool_choice": {"type": "function", "name": "go"}},
            {"tools": [CHAT_TOOL, CHAT_OTHER], "tool_choice": {"type": "function", "function": {"name": "go"}}},
        ),
        (
            {"tools": [TOOL, OTHER], "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [OTHER]}},
            {"tools": [CHAT_OTHER], "tool_choice": "required"},
        ),
        ({"text": {"format": {"type": "text"}, "verbosity": "low"}}, {"verbosity": "low"}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
                }
            },
        ),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
        ({"reasoning": None, "text": None, "tools": None, "include": None}, {}),
        ({"include": ["reasoning.encrypted_content"]}, {}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": True}),
        ({"top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
        ({"seed": 4, "stop": ["x"], "service_tier": "auto"}, {"seed": 4, "stop": ["x"], "service_tier": "auto"}),
        ({"top_k": 5}, {"top_k": 5}),  # unknown: passed on
    ],
)
def test_parameters_are_said_in_chat_completions(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert said(**fields) == expected
    assert expected.keys() - {"top_k"} <= CHAT_KNOWN


def catalog(**route: Any) -> Catalog:
    target = Target("m", Demo("demo", 0), "up", 0, 100, None)
    house = Route("m", (target,), 3, **route)
    return Catalog(3, {"m": house}, house, house, house, None, {})


@pytest.fixture(autouse=True)
def call_under_way() -> None:
    caller = Caller(CallerKind.API_KEY, org_id="o")
    enter(Call("the-request", "/m", caller, metadata={"cache-control": "no-cache"}))


@pytest.mark.parametrize(
    ("fields", "cap"), [({}, 100), ({"max_output_tokens": 50}, 50), ({"max_output_tokens": 500}, 100)]
)
def test_a_call_knows_its_surface_cap_tags_and_sizes(fields: dict[str, Any], cap: int) -> None:
    image = part(type="input_image", image_url=IMAGE)
    data = orjson.dumps({"model": "m", "input": image, "metadata": {"team": "search"}, "stream": True, **fields})
    _, call = call_of(data, catalog())
    assert (call.surface, call.output_cap) == (receipt_pb2.SURFACE_RESPONSES, cap)
    assert (call.streamed, call.wants_usage, call.restartable) == (True, True, False)
    assert call.tags == {"team": "search"}
    assert call.cache == CacheControl(refresh=True)
    assert call.input_tokens_max == len(data) + PART_TOKENS_MAX
    assert call.input_tokens_estimate > 0


def test_a_route_may_refuse_what_it_does_not_know() -> None:
    data = orjson.dumps({"input": "Hi", "top_k": 5})
    assert call_of(data, catalog())[1].body["top_k"] == 5
    with pytest.raises(MeshError, match="top_k"):
        call_of(data, catalog(refuses_unknown=True))


def test_tokens_are_counted_with_the_tools() -> None:
    bare = count(orjson.dumps({"input": "Hi " * 100}), catalog())
    assert 70 <= bare <= 90
    assert count(orjson.dumps({"input": "Hi " * 100, "tools": [TOOL]}), catalog()) > bare
    with pytest.raises(MeshError, match="No model"):
        count(orjson.dumps({"input": "Hi", "model": "gpt-99"}), catalog())
