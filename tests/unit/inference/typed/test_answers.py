"""Chunks of a stream as deltas of Generate."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from promptmesh.inference.v1 import inference_pb2 as pb

from services.inference.typed.answers import deltas, finish_reasons


def chunk(index: int = 0, *, logprobs: Any = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": None, "logprobs": logprobs}]}


def test_what_arrived_in_one_read_is_one_delta_for_each_candidate() -> None:
    made = deltas([chunk(content="a"), chunk(1, content="x"), chunk(content="b"), {"choices": []}, chunk(1)])
    assert [(one.candidate, one.text) for one in made] == [(0, "ab"), (1, "x")]


def test_content_in_parts() -> None:
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}, "c"]
    (made,) = deltas([chunk(content=parts)])
    assert made.text == "ab"


def test_a_chunk_that_says_nothing_is_no_delta() -> None:
    assert deltas([chunk(role="assistant", content=""), {"choices": [], "usage": {}}, {}]) == []


def test_thoughts_refusals_and_calls_of_tools() -> None:
    call = {"index": 1, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a'}}
    more = {"index": 1, "function": {"arguments": '":1}'}}
    (made,) = deltas(
        [
            chunk(role="assistant", reasoning_content="Hm"),
            chunk(reasoning="."),
            chunk(content=None, tool_calls=[call]),
            chunk(tool_calls=[more]),
            chunk(refusal="No."),
        ]
    )
    assert (made.reasoning, made.refusal, made.text) == ("Hm.", "No.", "")
    assert [(one.index, one.id, one.name, one.arguments) for one in made.tool_calls] == [
        (1, "c", "f", '{"a'),
        (1, "", "", '":1}'),
    ]


def test_log_probabilities() -> None:
    told = {"content": [{"token": "a", "logprob": -0.5, "top_logprobs": [{"token": "b", "logprob": -2}]}]}
    (made,) = deltas([chunk(content="a", logprobs=told)])
    (one,) = made.logprobs
    assert (one.token, one.logprob, one.top[0].token, one.top[0].logprob) == ("a", -0.5, "b", -2.0)


@pytest.mark.parametrize("text", ["a\x00b", "a\ud83db"])
def test_what_protobuf_refuses_is_replaced(text: str) -> None:
    (made,) = deltas([chunk(content=text)])
    assert made.text in ("a\ufffdb", "a?b")
    made.SerializeToString()


@pytest.mark.parametrize("index", [-1, 10**9])
def test_a_candidate_out_of_bounds_is_left_out(index: int) -> None:
    assert deltas([chunk(index, content="x")]) == []


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    "content",
                    "tool_calls",
                    "function",
                    "arguments",
                    "id",
                    "index",
                    "refusal",
                    "token",
                    "top_logprobs",
                    "text",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["content", "tool_calls", "reasoning", "refusal", "role"]), ANY), ANY)
def test_whatever_a_provider_says_is_taken_or_left_out(delta: dict[str, Any], logprobs: Any) -> None:
    for made in deltas([{"choices": [{"index": 0, "delta": delta, "logprobs": logprobs}]}]):
        made.SerializeToString()


def test_finish_reasons_in_the_order_of_candidates() -> None:
    assert finish_reasons({1: "length", 0: "tool_calls", 2: "eos"}) == [
        pb.FINISH_REASON_TOOL_CALLS,
        pb.FINISH_REASON_LENGTH,
        pb.FINISH_REASON_UNSPECIFIED,
    ]
