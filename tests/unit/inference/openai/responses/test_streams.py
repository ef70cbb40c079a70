"""Streamed Responses: the events, held against the official client's own types and its own accumulation."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from services.inference.engine.call import ModelCall
from services.inference.openai.responses import Events, answer
from services.inference.openai.responses.requests import Asked, read
from services.inference.providers.base import Part, TokenUsage
from services.inference.providers.demo import Demo
from services.inference.routing.route import Route, Target
from services.mesh.call import Caller, CallerKind
from services.mesh.errors import MeshError

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
RECORD = "0190aaaa-0000-7000-8000-000000000001"
BASE = RECORD.replace("-", "")
USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


def asked(**fields: Any) -> Asked:
    return read(orjson.dumps({"input": "Hi", "stream": True, **fields}))


def call_for(request: Asked) -> ModelCall:
    route = Route("m", (Target("house", Demo("demo", 0), "up", 0, 100, None),), 3)
    call = ModelCall(8, Caller(CallerKind.API_KEY, org_id="o"), "the-request", RECORD, route, request.chat)
    call.answer_model = "house"
    call.usage = TokenUsage(11, 12, estimated=True)
    call.tags = {"team": "search"}
    return call


def chunk(finish_reason: str | None = None, *, logprobs: Any = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": logprobs}
    return {"id": "chatcmpl-1", "model": "house", "choices": [choice]}


def tool(index: int | None, arguments: str = "", **first: Any) -> dict[str, Any]:
    call: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if "name" in first:
        call["function"]["name"] = first.pop("name")
    return chunk(tool_calls=[{**call, **first}])


def parsed(raw: bytes) -> list[dict[str, Any]]:
    """The events of a stream, each checked against its type."""
    found = []
    for block in raw.split(b"\n\n"):
        if not block or block.startswith(b":"):
            continue
        name, data = block.split(b"\n")
        event = orjson.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        EVENT.validate_python(event)
        found.append(event)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def play(*parts: list[dict[str, Any]], **fields: Any) -> list[dict[str, Any]]:
    request = asked(**fields)
    events = Events(request, call_for(request), 1_700_000_000)
    raw = b"".join(events.feed(Part(b"data: x\n\n", part)) for part in parts)
    return parsed(raw + events.end(1_700_000_002))


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


ENDS = chunk("stop")
COUNTED = {"id": "chatcmpl-1", "model": "house", "choices": [], "usage": USAGE}


def test_a_text() -> None:
    events = play(
        [chunk(role="assistant", content="")],
        [chunk(content="Good "), chunk(content="mor")],
        [chunk(content="ning."), ENDS, COUNTED],
        instructions="Be kind.",
        temperature=0.5,
    )
    assert kinds(events) == [
        *("created", "in_progress", "output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.delta", "output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert [event["delta"] for event in events if "delta" in event] == ["Good mor", "ning."]
    begun, ended = events[0]["response"], events[-1]["response"]
    assert (begun["status"], begun["output"], begun["usage"]) == ("in_progress", [], None)
    assert (begun["id"], begun["created_at"], begun["model"]) == (f"resp_{BASE}", 1_700_000_000, "house")
    assert (ended["instructions"], ended["temperature"], ended["store"]) == ("Be kind.", 0.5, False)
    assert ended["metadata"] == {"team": "search"}
    assert (ended["status"], ended["completed_at"], ended["error"]) == ("completed", 1_700_000_002, None)
    assert ended["output"] == [events[-2]["item"]]
    assert ended["output"][0]["content"] == [
        {"type": "output_text", "text": "Good morning.", "annotations": [], "logprobs": []}
    ]
    assert ended["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 12,
    }
    assert Response.model_validate(ended).output_text == "Good morning."


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": -5, "completion_tokens": 10**15}, "many"])
def test_usage_that_nobody_counted_is_ours(usage: Any) -> None:
    ended = play([chunk(content="Hi"), ENDS, {**COUNTED, "usage": usage}])[-1]["response"]
    assert (ended["usage"]["input_tokens"], ended["usage"]["output_tokens"]) == (11, 12)


def test_thoughts_a_text_and_calls_of_functions() -> None:
    events = play(
        [chunk(role="assistant", reasoning_content="Hm"), chunk(reasoning_content=".")],
        [chunk(content="One moment.")],
        [tool(0, id="c1", name="look"), tool(1, '{"b"', id="c2", name="go")],
        [tool(0, '{"a":'), tool(1, ":2}"), tool(0, "1}")],
        [chunk("tool_calls")],
    )
    assert kinds(events)[2:] == [
        *("output_item.added", "content_part.added", "reasoning_text.delta"),
        *("reasoning_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "output_item.added", "function_call_arguments.delta"),
        *("function_call_arguments.delta", "function_call_arguments.delta", "function_call_arguments.delta"),
        *("function_call_arguments.done", "output_item.done", "function_call_arguments.done", "output_item.done"),
        "completed",
    ]
    thought, text, first, second = events[-1]["response"]["output"]
    assert thought["content"] == [{"type": "reasoning_text", "text": "Hm."}]
    assert text["content"][0]["text"] == "One moment."
    assert (first["call_id"], first["name"], first["arguments"]) == ("c1", "look", '{"a":1}')
    assert (second["call_id"], second["name"], second["arguments"]) == ("c2", "go", '{"b":2}')
    assert len({item["id"] for item in (thought, text, first, second)}) == 4


def test_calls_that_all_have_one_index_are_told_apart_by_their_ids() -> None:
    events = play([tool(0, "{}", id="c1", name="f"), tool(0, "[]", id="c2", name="f")], [chunk("tool_calls")])
    assert [(one["call_id"], one["arguments"]) for one in events[-1]["response"]["output"]] == [
        ("c1", "{}"),
        ("c2", "[]"),
    ]


def test_a_call_without_an_id_gets_one() -> None:
    (item,) = play([tool(None, "{}", name="f"), chunk("tool_calls")])[-1]["response"]["output"]
    assert item["call_id"].startswith("call_")


def test_a_refusal() -> None:
    events = play([chunk(role="assistant", refusal="No"), chunk(refusal=".")], [chunk("stop")])
    assert kinds(events)[4:7] == ["refusal.delta", "refusal.done", "content_part.done"]
    assert events[-1]["response"]["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]


def test_a_refusal_after_a_text_is_a_part_of_the_same_message() -> None:
    (item,) = play([chunk(content="Well"), chunk(refusal="No.")], [ENDS])[-1]["response"]["output"]
    assert [part["type"] for part in item["content"]] == ["output_text", "refusal"]


def test_log_probabilities() -> None:
    told = {"token": "Hi", "logprob": -0.5, "bytes": None, "top_logprobs": [{"token": "Ho", "logprob": -2.0}]}
    events = play([chunk(content="Hi", logprobs={"content": [told]}), ENDS])
    expected = [
        {
            "token": "Hi",
            "logprob": -0.5,
            "bytes": [72, 105],
            "top_logprobs": [{"token": "Ho", "logprob": -2.0, "bytes": [72, 111]}],
        }
    ]
    assert [event["logprobs"] for event in events if "logprobs" in event] == [expected, expected]
    assert events[-1]["response"]["output"][0]["content"][0]["logprobs"] == expected


@pytest.mark.parametrize(("reason", "why"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_that_was_cut_is_incomplete(reason: str, why: str) -> None:
    last = play([chunk(content="Once upon"), chunk(reason)])[-1]
    assert last["type"] == "response.incomplete"
    response = last["response"]
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": why})
    assert (response["output"][0]["status"], response["completed_at"]) == ("incomplete", None)


def test_an_answer_that_says_nothing_is_an_empty_message() -> None:
    events = play([chunk(role="assistant", content=""), ENDS])
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == ""
    assert kinds(events)[2:4] == ["output_item.added", "content_part.added"]


def test_a_sign_of_life_goes_out_and_done_does_not() -> None:
    request = asked()
    events = Events(request, call_for(request), 0)
    assert events.feed(Part(b": keep-alive\n\n", [])).endswith(b"\n\n: keep-alive\n\n")
    assert events.feed(Part(b"data: [DONE]\n\n", [])) == b""


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("PROVIDER_ANSWER_BROKEN", "server_error"),
        ("PROVIDER_TIMEOUT", "server_error"),
        ("PROVIDER_RATE_LIMITED", "rate_limit_exceeded"),
        ("CONTENT_REFUSED", "invalid_prompt"),
    ],
)
def test_an_answer_that_breaks_off_has_failed(reason: str, code: str) -> None:
    request = asked()
    events = Events(request, call_for(request), 0)
    raw = events.feed(Part(b"x", [chunk(content="Once"), tool(0, '{"a', id="c", name="f")]))
    told = parsed(raw + events.failed(MeshError(reason, "It broke.")))
    assert kinds(told)[-2:] == ["failed", "error"]
    assert "completed" not in kinds(told)
    response, error = told[-2]["response"], told[-1]
    assert (response["status"], response["error"]) == ("failed", {"code": code, "message": "It broke."})
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]
    assert response["output"][1]["arguments"] == '{"a'
    assert error["message"] == error["error"]["message"] == "It broke."


DELTAS = st.one_of(
    st.builds(lambda text: chunk(content=text), st.text(max_size=4)),
    st.builds(lambda text: chunk(reasoning_content=text), st.text(max_size=4)),
    st.builds(lambda text: chunk(refusal=text), st.text(max_size=4)),
    st.builds(
        lambda index, text: tool(index, text, id=f"c{index}", name=f"f{index}"), st.integers(0, 2), st.text(max_size=4)
    ),
    st.builds(lambda index, text: tool(index, text), st.integers(0, 2), st.text(max_size=4)),
)


@settings(deadline=None)
@given(st.lists(st.lists(DELTAS, max_size=4), max_size=6), st.sampled_from(["stop", "length", "tool_calls"]))
def test_however_it_comes_the_deltas_make_the_answer(parts: list[list[dict[str, Any]]], reason: str) -> None:
    events = play(*parts, [chunk(reason)])
    state: Any = ResponseStreamState(input_tools=omit, text_format=omit)
    texts: dict[tuple[str, int], str] = {}
    for event in events:
        state.handle_event(EVENT.validate_python(event))
        if event["type"].endswith(".delta"):
            at = event["item_id"], event.get("content_index", -1)
            texts[at] = texts.get(at, "") + event["delta"]
    final = events[-1]["response"]
    Response.model_validate(final)
    for item in final["output"]:
        if item["type"] == "function_call":
            assert texts.get((item["id"], -1), "") == item["arguments"]
        else:
            for i, part in enumerate(item["content"]):
                assert texts.get((item["id"], i), "") == (
                    part["refusal"] if part["type"] == "refusal" else part["text"]
                )
    whole = [item for item in final["output"] if item["type"] == "message"]
    sent = [one for part in parts for one in part]
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in sent) == "".join(
        part["text"] for item in whole for part in item["content"] if part["type"] == "output_text"
    )


def test_streamed_or_not_the_answer_is_the_same() -> None:
    request = asked()
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    message = {"role": "assistant", "content": "Hi", "refusal": None, "reasoning_content": "Hm", "tool_calls": calls}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    data = orjson.dumps({"model": "house", "choices": [choice], "usage": USAGE})
    whole = orjson.loads(answer(request, call_for(request), data, 1_700_000_000, 1_700_000_002))
    streamed = play(
        [chunk(reasoning_content="Hm"), chunk(content="Hi"), tool(0, "{}", id="c", name="f")],
        [chunk("tool_calls"), COUNTED],
    )[-1]["response"]
    for response in (whole, streamed):
        for item in response["output"]:
            item["id"] = item["id"].split("_")[0]
    assert whole == streamed
