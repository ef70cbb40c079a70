"""Whole Responses, held against the official client's own types."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response

from services.inference.engine.call import ModelCall
from services.inference.openai.responses import Events, answer
from services.inference.openai.responses.requests import Asked, read
from services.inference.providers.base import Part
from services.inference.providers.demo import Demo
from services.inference.routing.route import Route, Target
from services.mesh.call import Caller, CallerKind


def call_of(request: Asked) -> ModelCall:
    route = Route("m", (Target("house", Demo("demo", 0), "up", 0, 100, None),), 3)
    return ModelCall(8, Caller(CallerKind.API_KEY), "r", "0190aaaa-0000-7000-8000-000000000001", route, request.chat)


def response(message: dict[str, Any], reason: str = "stop", **fields: Any) -> dict[str, Any]:
    request = read(orjson.dumps({"input": "Hi", **fields}))
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
    data = orjson.dumps({"model": "house", "choices": [choice]})
    made: dict[str, Any] = orjson.loads(answer(request, call_of(request), data, 10, 12))
    Response.model_validate(made)
    return made


def test_a_text() -> None:
    made = response({"content": "Good morning."})
    assert (made["object"], made["status"], made["model"]) == ("response", "completed", "house")
    assert (made["created_at"], made["completed_at"]) == (10, 12)
    (item,) = made["output"]
    assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "completed")
    assert item["content"][0]["text"] == "Good morning."
    assert (made["tool_choice"], made["tools"], made["text"]) == ("auto", [], {"format": {"type": "text"}})
    assert (made["parallel_tool_calls"], made["truncation"], made["store"]) == (True, "disabled", False)


def test_what_was_asked_is_said_back() -> None:
    form = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
    made = response(
        {"content": "{}"},
        tools=[{"type": "function", "name": "look"}],
        tool_choice={"type": "function", "name": "look"},
        text={"format": form, "verbosity": "low"},
        reasoning={"effort": "low"},
        max_output_tokens=9,
        parallel_tool_calls=False,
        user="u",
    )
    assert made["tools"] == [
        {"type": "function", "name": "look", "description": None, "parameters": None, "strict": None}
    ]
    assert made["tool_choice"] == {"type": "function", "name": "look"}
    assert made["text"] == {"format": form, "verbosity": "low"}
    assert made["reasoning"] == {"effort": "low", "summary": None}
    assert (made["max_output_tokens"], made["parallel_tool_calls"], made["user"]) == (9, False, "u")


def test_calls_without_a_text_are_no_message() -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}, {"function": None}]
    first, second = response({"content": None, "tool_calls": calls}, "tool_calls")["output"]
    assert (first["type"], first["call_id"], first["arguments"]) == ("function_call", "c", '{"a":1}')
    assert second["call_id"].startswith("call_")


def test_content_in_parts() -> None:
    (item,) = response({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})["output"]
    assert item["content"][0]["text"] == "ab"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(
                    [
                        *("content", "tool_calls", "function", "arguments", "name", "id", "refusal", "reasoning"),
                        *("token", "top_logprobs", "text", "type"),
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=10,
    )
)
@settings(deadline=None)
def test_whatever_a_provider_says_is_a_response(said: Any) -> None:
    choice = {"index": 0, "message": said if isinstance(said, dict) else {"tool_calls": said}, "logprobs": said}
    request = read(b'{"input": "Hi"}')
    made = orjson.loads(answer(request, call_of(request), orjson.dumps({"choices": [choice]}), 10, 12))
    assert made["status"] == "completed"
    assert made["output"]
    events = Events(request, call_of(request), 10)
    chunk = {"choices": [{"index": 0, "delta": choice["message"], "logprobs": said}]}
    assert b"response.completed" in events.feed(Part(b"x", [chunk])) + events.end(12)


@pytest.mark.parametrize("content", [None, "", []])
def test_nothing_at_all_is_an_empty_message(content: Any) -> None:
    (item,) = response({"content": content})["output"]
    assert [part["text"] for part in item["content"]] == [""]


def test_what_was_cut_is_the_last_item() -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}]
    made = response({"content": "Hi", "tool_calls": calls}, "length")
    assert [item["status"] for item in made["output"]] == ["completed", "incomplete"]
    assert (made["status"], made["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
